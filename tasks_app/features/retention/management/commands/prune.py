"""`manage.py prune --older-than 30d`: removes old finished tasks."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from tasks_app.audit import BulkLine, system_account
from tasks_app.features.retention.retention import OldTasks, prune
from tasks_app.handlers.words import duration, moment_text
from tasks_app.queue.models import FINAL

ENDED = [str(status) for status in FINAL]


def age(text: str) -> timedelta:
    """`30d`, `12h`: a number and its unit."""
    seconds = duration(text)
    if seconds is None or seconds > timedelta(days=36_500).total_seconds():
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write a number and s, m, h, d or w, as in 30d")
    return timedelta(seconds=seconds)


class Command(BaseCommand):
    """Commits in batches: it can be interrupted and repeated, while the platform runs."""

    help = "Remove tasks that ended long ago, with their attempts. Pending and running tasks stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, required=True, metavar="AGE", help="since they ended: 12h, 30d, 4w"
        )
        parser.add_argument("--status", choices=ENDED, help="only these (default: both)")
        parser.add_argument("--dry-run", action="store_true", help="remove nothing: count them, by type and status")

    def handle(self, *args: Any, older_than: timedelta, status: str | None, dry_run: bool, **options: Any) -> None:
        """Prints how many it removed, also when it is interrupted."""
        before = timezone.now() - older_than
        statuses = [status] if status else ENDED
        if dry_run:
            self._count(statuses, before)
        else:
            self._prune(statuses, before)

    def _count(self, statuses: list[str], before: datetime) -> None:
        total = 0
        try:
            for status in statuses:
                for name, count in sorted(OldTasks(status, before).counted().items()):
                    self.stdout.write(f"{count:>12,}  {status:<9}  {name}")
                    total += count
        except DatabaseError as error:
            raise CommandError(f"stopped: {error}") from None
        self.stdout.write(f"tasks that would be removed: {total} (ended before {moment_text(before)})")

    def _prune(self, statuses: list[str], before: datetime) -> None:
        removed = 0
        try:
            for status in statuses:
                line = BulkLine(system_account(), "prune", f"{status} tasks", ended_before=before.isoformat())
                for batch in prune(status, before, line):
                    removed += batch
        except DatabaseError as error:
            raise CommandError(f"stopped after {removed} tasks: {error}; run it again to remove the rest") from None
        finally:
            self.stdout.write(f"tasks removed: {removed} (ended before {moment_text(before)})")
