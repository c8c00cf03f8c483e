"""Runs handlers as child processes."""
