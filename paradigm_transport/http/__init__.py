"""HTTP: settings, connections, retries, server-sent events. Internal; import from `paradigm_transport`."""
