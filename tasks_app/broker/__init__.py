"""Notifications: a message tells the nodes of a deployment that a handler has work, through any Celery broker."""
