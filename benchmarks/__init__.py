"""What a user pays on top of the model: see README.md."""
