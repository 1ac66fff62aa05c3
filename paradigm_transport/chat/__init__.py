"""Chats over endpoints: templates, dialects, routes, structured output. Internal; import from `paradigm_transport`."""
