"""Bells: telling the nodes of a deployment that there is work for a handler, through any Celery broker."""
