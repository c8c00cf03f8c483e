from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from tasks_app.models import Attempt, LiveEvent, Task


def remove_rows(ids: Sequence[UUID]) -> None:
    """Remove tasks and everything that belongs to them, in the caller's transaction, which has locked them."""
    Attempt.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
    LiveEvent.objects.filter(task_id__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
    Task.objects.filter(pk__in=ids)._raw_delete(DEFAULT_DB_ALIAS)
