"""Alerts in the admin: on the dashboard, those that fire."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.html import format_html

from tasks_app.admin.text import line
from tasks_app.features.alerts.alerts import firing

#: Of the alerts that fire, the first ones.
MAX_SHOWN = 20


def firing_alerts(request: HttpRequest, _: None) -> str:
    """Their sentences, and since when; blank without one."""
    alerts = [line(f"{alert.sentence} (since {alert.since:%H:%M} UTC)", 300) for alert in firing()[:MAX_SHOWN]]
    if not alerts:
        return ""
    return format_html('<p class="td-why"><strong>Alerts firing:</strong> {}.</p>', "; ".join(alerts))


panels = {"dashboard.problems": firing_alerts}
