"""`POST /completions`: fields, replies, streams, calls. Internal; import from `paradigm_transport`."""
