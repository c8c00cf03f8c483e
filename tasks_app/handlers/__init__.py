"""Reads handlers.toml: the task types and how each is run."""
