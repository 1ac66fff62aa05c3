"""The import paths that are customary on LlamaHub; the wheel carries each file under its own path."""
