"""An operation as the API and the scripts of pages read it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasks_app.models import Operation
from tasks_app.operations.preview import Preview

#: The API's names of conditions that have others in TaskFilter.
_NAMES = {"statuses": "status", "types": "type", "reasons": "failure_reason", "tags": "tag"}


def report(operation: Operation) -> dict[str, Any]:
    """Where it stands. Moments are datetimes."""
    return {
        "id": operation.pk,
        "verb": operation.verb,
        "state": operation.state,
        "filter": {_NAMES.get(name, name): value for name, value in operation.filter.items()},
        "matched": operation.matched,
        "matched_exact": operation.matched_exact,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "priority": operation.priority,
        "rate": operation.rate,
        "limit": operation.limit,
        "canary": operation.canary,
        "stop_share": operation.stop_share,
        "created_at": operation.created_at,
        "created_by": operation.created_by,
        "ended_at": operation.ended_at,
        "sentence": operation.sentence,
    }


def counted(preview: Preview) -> dict[str, Any]:
    """What an operation would do."""
    oldest: datetime | None = preview.oldest
    return {
        "matched": preview.matched,
        "matched_exact": preview.exact,
        "by_type": dict(preview.by_type.most_common()),
        "by_status": dict(preview.by_status.most_common()),
        "by_reason": dict(preview.by_reason.most_common()),
        "skipped": dict(preview.unfit.most_common()),
        "oldest": oldest,
    }
