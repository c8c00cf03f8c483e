"""Runs handlers in Docker containers."""
