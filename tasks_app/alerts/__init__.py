"""Alerts by webhook, for deployments without Prometheus. Nothing runs unless DAEMON_ALERT_URL is set."""
