"""Alerts in the admin: on the dashboard, those that fire."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from tasks_app.admin.text import ago, handler_link, line, listed
from tasks_app.feature import Link
from tasks_app.features.alerts.alerts import FAILED_LOGINS, FAILED_SHARE, OLDEST_AGE, evaluated_at, firing
from tasks_app.features.alerts.models import Alert
from tasks_app.handlers.words import span, utc_text
from tasks_app.rights import SEE_NODES, UNLOCK_LOGINS, may

#: Of the alerts that fire, the first ones.
MAX_SHOWN = 20


def firing_alerts(request: HttpRequest, _: None) -> str:
    """Those that fire, the first one first; blank without one."""
    alerts = firing()
    if not alerts:
        return ""
    evaluated = evaluated_at()
    context = {
        "rows": [_row(request, alert) for alert in alerts[:MAX_SHOWN]],
        "more": len(alerts[MAX_SHOWN:]),
        "evaluated": ago(evaluated, timezone.now()) if evaluated else "",
    }
    return render_to_string("alerts/firing.html", context)


def _row(request: HttpRequest, row: Alert) -> dict[str, Any]:
    """An alert that fires. `now`: what is so now, in a sentence; `recovering`: for how long its condition has not held;
    `unsent`: why the webhook was not told of it."""
    alert, _, handler = row.key.partition("|")
    now, recovering = timezone.now(), row.differs_since is not None
    # Until the webhook is told, the row says why the alert fired.
    said = f"when it fired, {row.sentence}" if recovering and not row.told else row.sentence
    return {
        "alert": line(alert.replace("_", " "), 40),
        "now": line(said, 300),
        "since": utc_text(row.since, "minutes") if row.since else "",
        "lasts": span(now - row.since) if row.since else "",
        "recovering": span(now - row.differs_since) if row.differs_since else "",
        "unsent": "" if row.told else line(row.send_error, 200),
        "links": _links(request, alert, handler),
    }


def _links(request: HttpRequest, alert: str, handler: str) -> list[Link]:
    """What an alert is about: a handler and its tasks, logins, or the nodes."""
    if alert == FAILED_LOGINS:
        logins = reverse("admin:axes_accessattempt_changelist")
        return [Link(logins, "Access attempts")] if may(request, UNLOCK_LOGINS) else []
    if not handler:
        nodes = reverse("admin:tasks_app_node_changelist")
        return [Link(nodes, "Nodes")] if may(request, SEE_NODES) else []
    tasks = {
        OLDEST_AGE: [Link(listed(type=handler, status="pending"), "Pending tasks")],
        FAILED_SHARE: [Link(listed(type=handler, failed="quarter"), "Failed tasks")],
    }
    return [Link(handler_link(handler), line(handler, 60)), *tasks.get(alert, [])]


panels = {"dashboard.problems": firing_alerts}
