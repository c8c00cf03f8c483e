"""What alerts add to the engine."""

from tasks_app.feature import Feature


class Alerts(Feature):
    """Alerts by webhook, for deployments without Prometheus. Nothing runs unless DAEMON_ALERT_URL is set."""

    name = "tasks_app.features.alerts"
    process_starts = "tasks_app.features.alerts.watch.start"
    panels = "tasks_app.features.alerts.admin.panels"
