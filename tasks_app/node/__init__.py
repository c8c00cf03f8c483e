"""A node: one worker process, its slots, and the threads that claim tasks and save results."""

from tasks_app.node.node import Node

__all__ = ["Node"]
