"""Which SQLite file it is."""

from __future__ import annotations

from django.db import connection


def where() -> str:
    """See Store."""
    return f"sqlite {connection.settings_dict['NAME']}"
