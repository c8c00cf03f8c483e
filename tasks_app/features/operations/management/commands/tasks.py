"""`manage.py tasks list|redrive|cancel|delete|priority ... | abort ID`: lists; acts on all that match, or on one.

What features do to all that match is a subcommand too.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.http import QueryDict

from tasks_app.api.errors import Invalid
from tasks_app.api.fields import read_query, task_id
from tasks_app.api.list_parameters import CONDITIONS, DEFAULT_LIMIT, PARAMETERS, filter_of
from tasks_app.api.tasks import read_priority, read_redrive
from tasks_app.audit import TaskUnfit, act_on_task, system_account
from tasks_app.conf import ours
from tasks_app.features.operations.acts import Preview, abort, at_least, counts, preview, start, warnings
from tasks_app.features.operations.models import Operation, OperationState, Verb
from tasks_app.features.operations.plan import DEFAULT_STOP_SHARE, OPTIONS, Plan, bulk_acts
from tasks_app.field import Faults, Fields
from tasks_app.handlers.words import aligned, utc_text
from tasks_app.logs import harmless
from tasks_app.queue.models import DONE
from tasks_app.queue.redrive import LivingTwin
from tasks_app.queue.strict_json import BadJSON, loads_data
from tasks_app.queue.task_search import search

POLL_SECONDS = 1.0
#: The options of `list`.
LIST = CONDITIONS | {name: PARAMETERS[name] for name in ("order", "limit", "cursor")}
#: Characters of an error in it.
MAX_ERROR_CHARS = 80
HELPS = {
    Verb.REDRIVE: "queue failed tasks again",
    Verb.CANCEL: "cancel pending and running tasks",
    Verb.DELETE: "delete tasks, in any status",
    Verb.PRIORITY: "give pending tasks another priority",
}


class Command(BaseCommand):
    """Starts an operation, which the nodes work off, and shows how far it is. Exit code 1 if it does not complete.

    Of a task that is named by its id, the act is done at once.
    """

    help = (
        "List tasks; redrive, cancel, delete or reprioritize all that match, or one. The nodes work off what matches, "
        "in batches; one that is named by its id is changed at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        _add_conditions(acts.add_parser("list", help="show tasks, the newest first"), LIST)
        for verb, text in HELPS.items():
            self._add_verb(acts.add_parser(verb.value, help=text), verb)
        for act in bulk_acts().values():
            self._add_verb(acts.add_parser(act.verb, help=act.text), act.verb)
        ending = acts.add_parser("abort", help="end a running operation: no further batch begins")
        ending.add_argument("operation", help="its id")

    def _add_verb(self, parser: CommandParser, verb: str) -> None:
        options = [(name, option) for name, option in OPTIONS.items() if option.belongs_to(verb)]
        for name, option in options:
            if not option.absent:
                parser.add_argument(name, type=int, metavar=name.upper(), help=option.valid)
        if verb in HELPS:
            parser.add_argument("task", nargs="?", metavar="ID", help="one task, at once, instead of conditions")
        if verb == Verb.REDRIVE:
            one = parser.add_argument_group("of one task: what it is to have from now on")
            one.add_argument("--data", metavar="JSON", help="""a JSON object: '{"limit": 1000}'""")
            one.add_argument("--priority", type=int, dest="other_priority", metavar="N", help="0 to 100")
        _add_conditions(parser.add_argument_group("conditions, at least one; all of them hold"), CONDITIONS)
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--detach", action="store_true", help="do not wait for its end")
        for name, option in options:
            if option.absent:
                default = DEFAULT_STOP_SHARE if name == "stop_share" else None
                without = f"{default:g}; 1: never" if default else option.absent
                parser.add_argument(
                    f"--{name.replace('_', '-')}", type=int if option.whole else float, default=default, metavar="N",
                    help=f"{option.help.lower().rstrip('.')} (default: {without})",
                )  # fmt: skip

    def handle(self, *args: Any, act: str, **options: Any) -> None:
        """Run one subcommand."""
        if act == "list":
            self._list(options)
            return
        if act == "abort":
            self._abort(options["operation"])
            return
        if options.get("task") is not None:
            self.stdout.write(_act_on_one(Verb(act), options))
            return
        plan = _plan(act, options)
        numbers = preview(plan)
        self.stdout.write(_counted(numbers))
        for sentence in warnings(act, numbers.by_type):
            self.stderr.write(f"Note: {sentence}")
        if options["dry_run"]:
            return
        operation = start(plan, system_account())
        self.stdout.write(f"operation {operation.pk}")
        if not options["detach"]:
            self._follow(operation)

    def _list(self, options: dict[str, Any]) -> None:
        faults: Faults = []
        asked = _asked_of(options, LIST, faults)
        wanted = filter_of(asked, faults)
        if faults:
            raise CommandError("; ".join(text for _, text in faults), returncode=2)
        limit = asked.get("limit") or max(DEFAULT_LIMIT, len(asked.get("ids", ())))
        found = search(wanted, asked.get("cursor"), asked.get("order") == "oldest", limit)
        columns = ("pk", "status", "task_type", "priority", "attempts", "created_at", "last_error")
        tasks = list(found.rows.values_list(*columns)[: limit + 1])
        rows = [("ID", "STATUS", "TYPE", "PRIORITY", "ATTEMPTS", "CREATED (UTC)", "LAST ERROR")]
        for identity, status, task_type, priority, attempts, created, error in tasks[:limit]:
            short = harmless(" ".join((error or "").split()))[:MAX_ERROR_CHARS]
            rows.append((str(identity), status, task_type, str(priority), str(attempts), utc_text(created), short))
        for line in aligned(rows):
            self.stdout.write(line)
        if (end := tasks[limit - 1][0] if len(tasks) > limit else found.end) is not None:
            self.stderr.write(f"There may be more: --cursor {end}")

    def _follow(self, operation: Operation) -> None:
        said = ""
        try:
            while operation.state == OperationState.RUNNING:
                if said != (said := f"{counts(operation)}, of {operation.matched:,}"):
                    self.stdout.write(said)
                time.sleep(POLL_SECONDS)
                operation.refresh_from_db()
        except KeyboardInterrupt:
            self.stderr.write(f"It goes on. To abort it: {ours('tasks')} abort {operation.pk}")
            raise
        self.stdout.write(operation.sentence)
        if operation.state != OperationState.COMPLETED:
            raise CommandError(f"the operation is {operation.state}")

    def _abort(self, text: str) -> None:
        identity: UUID | None = task_id(text)
        operation = None if identity is None else Operation.objects.filter(pk=identity).first()
        if operation is None:
            raise CommandError(f"there is no operation {text!r}")
        if not abort(operation.pk, system_account()):
            raise CommandError(f"it is over already: {operation.state}")
        operation.refresh_from_db()
        self.stdout.write(operation.sentence)


def _add_conditions(parser: Any, fields: Fields) -> None:
    for name, field in fields.items():
        action = "append" if field.repeated else "store"
        parser.add_argument(
            f"--{name.replace('_', '-')}", action=action, metavar=name.upper(),
            help=field.option or field.schema["description"],
        )  # fmt: skip


def _asked_of(options: dict[str, Any], fields: Fields, faults: Faults) -> dict[str, Any]:
    """The values of the options that are given, checked as the parameters of a call are."""
    query = QueryDict(mutable=True)
    for name in fields:
        if (value := options[name]) is not None:
            query.setlist(name, value if isinstance(value, list) else [value])
    return read_query(query, fields, faults, "condition")


def _act_on_one(verb: Verb, options: dict[str, Any]) -> str:
    """Act on the task that is named, and say so."""
    if given := [name for name in (*CONDITIONS, "dry_run", "detach", "rate", "limit", "canary") if options.get(name)]:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise CommandError(f"{words}: an ID names one task, and leaves nothing to choose", returncode=2)
    identity = task_id(options["task"])
    if identity is None:
        raise CommandError(f"{options['task']!r} is not the id of a task", returncode=2)
    try:
        changes = _changes(verb, options)
    except (BadJSON, Invalid) as refused:
        raise CommandError(str(refused), returncode=2) from None
    try:
        with act_on_task(system_account(), verb, identity, **changes):
            return f"task {identity} was {DONE[verb]}"
    except (TaskUnfit, LivingTwin) as refusal:
        raise CommandError(f"nothing was done: {refusal}") from None


def _changes(verb: Verb, options: dict[str, Any]) -> dict[str, Any]:
    """What the task is to have from now on, checked as a POST is. Raises BadJSON and Invalid."""
    if verb == Verb.PRIORITY:
        return {"priority": read_priority({"priority": options["priority"]})}
    if verb != Verb.REDRIVE:
        return {}
    data = options["data"]
    return read_redrive({"data": None if data is None else loads_data(data), "priority": options["other_priority"]})


def _plan(verb: str, options: dict[str, Any]) -> Plan:
    faults: Faults = []
    asked = _asked_of(options, CONDITIONS, faults)
    wanted = filter_of(asked, faults)
    plan = Plan.of(verb, wanted, options)
    faults += plan.faults()
    for name in ("data", "other_priority"):
        if options.get(name) is not None:
            faults.append((name, f"--{name.removeprefix('other_')} is for one task: give its ID"))
    if not asked:
        faults.append(("", "give a condition, such as --type: without one, every task would match"))
    if faults:
        raise CommandError("; ".join(text for _, text in faults), returncode=2)
    return plan


def _counted(numbers: Preview) -> str:
    parts = [f"{at_least(numbers.exact)}{numbers.matched:,} match"]
    by = {"types": numbers.by_type, "reasons": numbers.by_reason, "skipped": numbers.unfit}
    parts += [f"{name}: {_numbers(of)}" for name, of in by.items() if of]
    return "; ".join(parts)


def _numbers(of: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in of.most_common(10))
