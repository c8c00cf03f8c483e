"""The types of tasks that there may be."""

from __future__ import annotations

from contextlib import suppress

from django.db import DatabaseError

from tasks_app import conf
from tasks_app.metrics.system_reading import current_reading


def known_types() -> list[str]:
    """The handlers of handlers.toml, and every type that the database has counted, if it can be read now."""
    names = set(conf.handlers())
    with suppress(DatabaseError):  # then fewer are offered; filtering does not need them
        names.update(current_reading().handlers)
    return sorted(names)
