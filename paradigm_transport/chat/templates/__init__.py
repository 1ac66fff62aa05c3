"""Chat templates: messages in, the model's own markup out."""
