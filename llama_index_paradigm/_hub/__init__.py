"""Modules that the wheel installs under LlamaIndex's own names, where LlamaHub expects them, and not here."""
