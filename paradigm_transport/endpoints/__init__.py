"""The endpoints, one place each: fields, replies, calls. Internal; import from `paradigm_transport`."""
