"""A database that answers reads and refuses writes."""

from __future__ import annotations

from django.db import OperationalError


class WriteRefused(OperationalError):
    """The database refused a write but still answers reads. The transaction had no effect."""
