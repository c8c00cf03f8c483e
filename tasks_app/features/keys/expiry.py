"""The option `--expires` of `manage.py apikey create`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django.utils import timezone

from tasks_app.handlers.words import moment_of

VALID = "a number of days, hours or minutes such as 90d, 12h or 30m, or a time such as 2026-01-31T09:00:00Z"

_SPAN = re.compile(r"(\d{1,5})([dhm])", re.ASCII)
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def expiry_of(text: str) -> datetime | None:
    """The moment that a text means; None if it means none."""
    if (found := _SPAN.fullmatch(text)) is not None:
        return timezone.now() + timedelta(**{_UNITS[found[2]]: int(found[1])})
    return moment_of(text)
