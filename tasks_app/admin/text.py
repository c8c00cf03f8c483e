"""Untrusted text for pages: bounded, with control characters made visible.

Nothing here produces HTML; templates escape what they get.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from tasks_app.logs.harmless import harmless as harmless
from tasks_app.metrics.summary import span
from tasks_app.queue.node_models import HandlerPause

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


def pause_text(pause: HandlerPause) -> str:
    """By whom it was paused, since when and until when."""
    until = "" if pause.until is None else f", until {pause.until:%Y-%m-%d %H:%M:%S}"
    return f"by {line(pause.paused_by, 60)}, since {pause.paused_at:%Y-%m-%d %H:%M:%S}{until}"


# Addresses of the admin's pages.


def listed(**narrowed: str) -> str:
    """The address of the list of tasks, with these filters."""
    return f"{reverse('admin:tasks_app_task_changelist')}?{urlencode(narrowed)}"


def handler_link(name: str) -> str:
    """The address of a handler's page. A parameter: a name that is no part of a path is still one."""
    return f"{reverse('admin-handler')}?{urlencode({'type': name})}"


def node_link(name: str) -> str:
    """The address of a node's page."""
    return reverse("admin:tasks_app_node_change", args=(name,))


def audit_link(target: str) -> str:
    """The address of the audit log's lines about a target."""
    return f"{reverse('admin:tasks_app_auditentry_changelist')}?{urlencode({'q': target})}"


# Counts by hour as a small picture: SVG without styles or scripts, with the numbers in words for who cannot see it.

#: Of the picture, in its own units.
BAR_WIDTH, HEIGHT = 4, 24


def bars(hours: Mapping[str, int], last: int, count: int) -> SafeString:
    """`count` bars, the last of which is the hour `last` (since 1970)."""
    values = [hours.get(str(hour), 0) for hour in range(last - count + 1, last + 1)]
    most = max(*values, 1)
    # One path of numbers only: a list has many pictures.
    drawn = "".join(
        f"M{number * BAR_WIDTH} {HEIGHT}v-{height}h{BAR_WIDTH - 1}v{height}z"
        for number, value in enumerate(values)
        if value and (height := max(round(value / most * HEIGHT), 2))
    )
    label = f"{sum(values):,} in {count} hours, at most {max(values):,} in one hour, {values[-1]:,} in this one"
    return format_html(
        '<svg class="td-bars" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"><title>{}</title>'
        '<path class="td-bars-line" d="M0 {}H{}"/><path d="{}"/></svg>',
        count * BAR_WIDTH, HEIGHT + 1, count * BAR_WIDTH, HEIGHT + 1, label, label, HEIGHT + 0.5, count * BAR_WIDTH,
        drawn,
    )  # fmt: skip
