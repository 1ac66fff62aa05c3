"""Dialects: how a model family writes tool calls, and how they are read back. Internal to the project."""
