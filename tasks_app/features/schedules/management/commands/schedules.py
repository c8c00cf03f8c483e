"""`manage.py schedules list|show|put|delete|pause|resume|run|firings`: schedules and what became of their ticks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.api.errors import AnswerEncoder
from tasks_app.audit import system_account
from tasks_app.features.schedules import verbs
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.fields import EXAMPLE, read, schedule_object, when, without_definitions
from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.field import Faults
from tasks_app.handlers.words import aligned, choices, utc_text
from tasks_app.logs import harmless
from tasks_app.queue.strict_json import BadJSON, loads_data

#: Lines that `firings` shows, unless it is told otherwise.
DEFAULT_LINES = 20
VERBS = {
    "show": "show a schedule as JSON, with its next ticks",
    "put": "make a schedule, or replace one",
    "delete": "delete a schedule; its tasks stay",
    "pause": "let a schedule fire no more until it is resumed",
    "resume": "let a paused schedule fire from now on",
    "run": "make a task of a schedule now",
    "firings": "show what became of its ticks, the newest first",
}


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "List, define, pause, resume and run schedules, and see what became of their ticks."

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="verb", required=True)
        words.add_parser("list", help="show all schedules with their next ticks")
        for verb, text in VERBS.items():
            one = words.add_parser(verb, help=text)
            one.add_argument("name", help="its name")
            if verb == "put":
                one.add_argument("definition", help=f"a JSON object such as {EXAMPLE}, @FILE that has it, or -")
            if verb == "firings":
                one.add_argument("--limit", type=int, default=DEFAULT_LINES, metavar="N", help="how many lines")

    def handle(self, *args: Any, verb: str, name: str = "", **options: Any) -> None:
        """Run one subcommand."""
        try:
            said = self._say(verb, name, **options)
        except verbs.UnknownSchedule as unknown:
            raise CommandError(f"{unknown}; there are {choices(name, unknown.known)}") from None
        except (verbs.NotChanged, verbs.Refused) as refused:
            raise CommandError(str(refused)) from None
        self.stdout.write(said)

    def _say(self, verb: str, name: str, definition: str = "", limit: int = DEFAULT_LINES, **_: Any) -> str:
        actor = system_account()
        if verb == "list":
            return _list()
        if verb == "put":
            return f"{name} is {'made' if verbs.put(name, _definition(name, definition), actor) else 'replaced'}"
        if verb == "run":
            return str(verbs.run(name, actor))
        if verb == "firings":
            return _firings(_row(name), limit)
        if verb == "show":
            return json.dumps(schedule_object(_row(name)), cls=AnswerEncoder, indent=2, ensure_ascii=False)
        if verb == "delete":
            verbs.remove(name, actor)
            return f"{name} is deleted"
        (verbs.pause if verb == "pause" else verbs.resume)(name, actor)
        return f"{name} is {verb}d"


def _row(name: str) -> Schedule:
    row = Schedule.objects.filter(pk=name).first()
    if row is None:
        raise verbs.UnknownSchedule(name)
    return row


def _list() -> str:
    rows = [("NAME", "TYPE", "WHEN", "NEXT", "DEFINED IN")]
    for row in without_definitions(Schedule.objects.order_by("pk")):
        still = "paused" if row.paused_at is not None else "not enabled"
        next_at = still if row.next_at is None else utc_text(row.next_at)
        rows.append((row.pk, harmless(row.task_type), when(row), next_at, row.source))
    return "\n".join(aligned(rows)) if len(rows) > 1 else "there are no schedules"


def _firings(row: Schedule, limit: int) -> str:
    rows = [("TICK", "OUTCOME", "TASK", "WHY")]
    for line in Firing.objects.filter(schedule=row.pk).order_by("-scheduled_for")[: max(limit, 0)]:
        many = "" if line.until is None else f" ({line.count:,} until {utc_text(line.until)})"
        by = "" if line.by is None else f" by {harmless(line.by)}"
        task = "" if line.task is None else str(line.task)
        rows.append((utc_text(line.scheduled_for), f"{line.outcome}{many}{by}", task, harmless(line.reason)))
    return "\n".join(aligned(rows)) if len(rows) > 1 else f"{row.pk} has not fired yet"


def _definition(name: str, text: str) -> Definition:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text()
        body = loads_data(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"the definition cannot be read: {error}") from None
    except BadJSON as error:
        raise CommandError(f"the definition is not valid: {error}") from None
    faults: Faults = []
    definition = read(body, faults, "the definition", name=name)
    if definition is None or faults:
        raise CommandError("\n".join(sentence for _, sentence in faults))
    return definition
