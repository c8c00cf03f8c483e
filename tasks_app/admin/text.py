"""Untrusted text for pages: bounded, with control characters made visible.

Nothing here produces HTML; templates escape what they get.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.urls import reverse
from django.utils.http import urlencode

from tasks_app.handlers.words import span
from tasks_app.logs import harmless

#: Of a payload or a result.
MAX_SHOWN_CHARS = 64 * 1024
#: Of a log: everything that is stored of it, with the mark of a cut.
MAX_LOG_CHARS = 68 * 1024


@dataclass(frozen=True)
class Shown:
    """A text as a page shows it. `cut`: the number of characters left out; `total`: of all characters."""

    text: str
    cut: int = 0
    total: int = 0


def line(text: str | None, max_chars: int = 120) -> str:
    """A text on one line, cut with an ellipsis."""
    flat = " ".join((text or "")[: max_chars * 4].split())
    return harmless(flat if len(flat) <= max_chars else flat[: max_chars - 1] + "…")


def log(text: str) -> Shown:
    """A log's tail as it is stored; its text says itself what was cut. Windows' line ends become line ends."""
    text = text.replace("\r\n", "\n")
    return Shown(harmless(text[:MAX_LOG_CHARS]), max(len(text) - MAX_LOG_CHARS, 0), len(text))


def pretty(text: str, total: int) -> Shown:
    """JSON text, indented as far as it fits. `text` may be only the beginning of `total` characters."""
    if len(text) < total:
        return Shown(harmless(text[:MAX_SHOWN_CHARS]), total - min(len(text), MAX_SHOWN_CHARS), total)
    parts, size = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(json.loads(text)):
            parts.append(part)
            size += len(part)
            if size > MAX_SHOWN_CHARS:
                break
    except (ValueError, RecursionError):  # nested deeper than Python parses: shown as it is stored
        return Shown(harmless(text[:MAX_SHOWN_CHARS]), max(total - MAX_SHOWN_CHARS, 0), total)
    indented = "".join(parts)
    return Shown(
        harmless(indented[:MAX_SHOWN_CHARS]), max(total - MAX_SHOWN_CHARS, 1) if size > MAX_SHOWN_CHARS else 0, total
    )


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment is, or in what time it will be."""
    past = now - moment
    if abs(past) < timedelta(seconds=1):
        return "now"
    return f"{span(past)} ago" if past > timedelta() else f"in {span(past)}"


def is_id(text: str) -> bool:
    """Whether a text is an id as pages write it."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


# Addresses of the admin's pages.


def listed(**narrowed: str) -> str:
    """The address of the list of tasks, with these filters."""
    return f"{reverse('admin:tasks_app_task_changelist')}?{urlencode(narrowed)}"


def handler_link(name: str) -> str:
    """The address of a handler's page. A parameter: a name that is no part of a path is still one."""
    return f"{reverse('admin-handler')}?{urlencode({'type': name})}"


def task_link(pk: object) -> str:
    """The address of a task's page."""
    return reverse("admin:tasks_app_task_change", args=(pk,))


def node_link(name: str) -> str:
    """The address of a node's page."""
    return reverse("admin:tasks_app_node_change", args=(name,))
