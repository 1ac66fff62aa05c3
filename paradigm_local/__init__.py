"""A local Paradigm: the completions endpoint over a real small model, on this machine."""
