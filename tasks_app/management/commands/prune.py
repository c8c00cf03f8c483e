"""`manage.py prune --older-than 30d`: removes old finished tasks."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from tasks_app.lifecycle import prune
from tasks_app.models import Status

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """`30d`, `12h`: a number and its unit."""
    found = re.fullmatch(r"(\d{1,5})([mhdw])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write a number and m, h, d or w, as in 30d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


class Command(BaseCommand):
    """Commits in batches: it can be interrupted and repeated, while the platform runs."""

    help = "Remove tasks that ended long ago, with their attempts. Pending and running tasks stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, required=True, metavar="AGE", help="since they ended: 12h, 30d, 4w"
        )
        ended = (Status.COMPLETED, Status.FAILED)
        parser.add_argument("--status", choices=[str(one) for one in ended], help="only these (default: both)")

    def handle(self, *args: Any, older_than: timedelta, status: str | None, **options: Any) -> None:
        """Prints how many it removed, also when it is interrupted."""
        before = timezone.now() - older_than
        removed = 0
        try:
            for one in [status] if status else [Status.COMPLETED, Status.FAILED]:
                for batch in prune(one, before):
                    removed += batch
        except DatabaseError as error:
            raise CommandError(f"stopped after {removed} tasks: {error}; run it again to remove the rest") from None
        finally:
            self.stdout.write(f"tasks removed: {removed} (ended before {before:%Y-%m-%d %H:%M:%S} UTC)")
