"""Chat templates: messages in, the model's own markup out. Internal; import from `paradigm_transport`."""
