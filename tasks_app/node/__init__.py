"""A node: one worker process, its slots, and the threads that do the paperwork for them."""

from tasks_app.node.node import Node

__all__ = ["Node"]
