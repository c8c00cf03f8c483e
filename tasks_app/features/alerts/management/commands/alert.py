"""`manage.py alert [--test]`: the alerts that fire, or a test alert to DAEMON_ALERT_URL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import conf
from tasks_app.features.alerts.alerts import firing
from tasks_app.features.alerts.watch import FIRING, NotSent, Webhook, message
from tasks_app.handlers.words import moment_text
from tasks_app.logs import harmless


class Command(BaseCommand):
    """Needs no database for --test."""

    help = "Show the alerts that fire now; with --test, send a test alert to DAEMON_ALERT_URL."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--test", action="store_true", help="send a test alert")

    def handle(self, *args: Any, test: bool, **options: Any) -> None:
        """Prints one line an alert, or where the test alert was sent."""
        url = conf.environment().alert_url
        if url is None:
            raise CommandError("DAEMON_ALERT_URL is not set: there are no alerts")
        if not test:
            self._show()
            return
        webhook = Webhook(url)
        try:
            webhook.post(message("test", FIRING, "this is a test alert: nothing is wrong", datetime.now(UTC)))
        except NotSent as error:
            raise CommandError(f"the test alert was not sent: {error}") from None
        self.stdout.write(f"sent to {webhook.shown}")

    def _show(self) -> None:
        alerts = firing()
        for row in alerts:
            untold = "" if row.told else f" (not sent yet{f': {row.send_error}' if row.send_error else ''})"
            since = row.since and moment_text(row.since)
            self.stdout.write(f"{row.key} since {since}: {harmless(row.sentence)}{untold}")
        if not alerts:
            self.stdout.write("no alert fires")
