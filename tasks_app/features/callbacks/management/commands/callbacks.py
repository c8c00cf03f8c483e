"""`manage.py callbacks list|show|retry`: what was told of tasks that have ended, and sending it anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import system_account
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.verbs import NoCallbacks, retry, retry_deliveries
from tasks_app.handlers.words import aligned, plural, utc_text
from tasks_app.logs import harmless, harmless_json

#: Callbacks that `list` shows, and that `retry` with conditions sends anew, unless it is told otherwise.
DEFAULT_LIMIT = 20


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "List the callbacks of tasks, show what is sent, and send callbacks again."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        shown = verbs.add_parser("list", help="show callbacks, the newest first")
        one = verbs.add_parser("show", help="show what is sent, as JSON")
        one.add_argument("callback", help="its id, which is the header webhook-id")
        again = verbs.add_parser("retry", help="send callbacks again, now")
        again.add_argument("task", nargs="?", help="the id of a task: those not delivered, and the newest")
        for conditions, least in ((shown, DEFAULT_LIMIT), (again, None)):
            conditions.add_argument("--status", choices=State.values, help="those with this status")
            conditions.add_argument("--host", help="those to this host and port, such as example.org:443")
            conditions.add_argument("--type", dest="task_type", help="those of tasks of this type")
            conditions.add_argument("--limit", type=int, default=least, metavar="N", help="at most so many, the newest")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Run one subcommand."""
        verbs: dict[str, Callable[..., str]] = {"list": _list, "show": _show, "retry": _retry}
        self.stdout.write(verbs[verb](**options))


def _matching(status: str | None, host: str | None, task_type: str | None, limit: int | None) -> Any:
    given = {"status": status, "host": host and host.lower(), "task_type": task_type}
    rows = Delivery.objects.filter(**{name: value for name, value in given.items() if value}).order_by("-pk")
    return rows if limit is None else rows[: max(limit, 0)]


def _list(status: str | None, host: str | None, task_type: str | None, limit: int, **_: Any) -> str:
    rows = [("ID", "TASK", "EVENT", "HOST", "STATUS", "TRIES", "LAST ANSWER", "NEXT TRY")]
    for row in _matching(status, host, task_type, limit).defer("body", "url"):
        next_at = "" if row.next_at is None else utc_text(row.next_at)
        rows.append((
            str(row.pk), str(row.task), row.event, harmless(row.host), row.status, str(row.tries),
            harmless(row.last_answer), next_at,
        ))  # fmt: skip
    return "\n".join(aligned(rows)) if len(rows) > 1 else "there are no such callbacks"


def _show(callback: str, **_: Any) -> str:
    row = Delivery.objects.filter(pk=_id(callback, "callback")).first()
    if row is None:
        raise CommandError(f"there is no callback {callback}")
    return harmless_json(row.body)


def _retry(
    task: str | None, status: str | None, host: str | None, task_type: str | None, limit: int | None, **_: Any
) -> str:
    actor, conditions = system_account(), (status, host, task_type)
    if bool(task) == any(conditions):
        raise CommandError("name a task, or conditions: --status failed, --host example.org:443, --type NAME")
    if task:
        try:
            count = retry(_id(task, "task"), actor)
        except NoCallbacks as none:
            raise CommandError(str(none)) from None
    else:
        ids = list(_matching(*conditions, limit).values_list("pk", flat=True))
        count = retry_deliveries(ids, actor)
    return f"{count:,} {plural(count, 'callback')} will be sent now"


def _id(text: str, what: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise CommandError(f"{harmless(text)!r} is no id of a {what}") from None
