"""Which database of which server it is."""

from __future__ import annotations

from django.db import connection


def where() -> str:
    """See Store."""
    database = connection.settings_dict
    return f"postgresql {database['HOST']}:{database['PORT']}/{database['NAME']}"
