"""`manage.py callbacks list|show|retry|give-up`: what is told of tasks that have ended; send it anew, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import system_account
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.features.callbacks.verbs import NoCallbacks, counted, give_up, pending_of, retry, retry_deliveries
from tasks_app.handlers.words import aligned, moment_of, plural, utc_text
from tasks_app.logs import harmless, harmless_json

#: Callbacks that `list` shows, and that `retry` with conditions sends anew, unless it is told otherwise.
DEFAULT_LIMIT = 20


class Command(BaseCommand):
    """It needs only the database: nodes read it each second."""

    help = "List the callbacks of tasks, show what is sent, send callbacks again, and give up pending ones."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        shown = verbs.add_parser("list", help="show callbacks, the newest first")
        one = verbs.add_parser("show", help="show what is sent, as JSON")
        one.add_argument("callback", help="its id, which is the header webhook-id")
        again = verbs.add_parser("retry", help="send callbacks again, now")
        again.add_argument("task", nargs="?", help="the id of a task: those not delivered, and the newest")
        none = verbs.add_parser("give-up", help="let pending callbacks fail without a further try")
        for conditions in (shown, again, none):
            conditions.add_argument("--host", help="those to this host and port, such as example.org:443")
            conditions.add_argument("--type", dest="task_type", help="those of tasks of this type")
        none.add_argument("--created-before", metavar="MOMENT", help="those written before: 2026-01-31T09:00:00Z")
        none.add_argument("--dry-run", action="store_true", help="only count")
        for conditions, least in ((shown, DEFAULT_LIMIT), (again, None)):
            conditions.add_argument("--status", choices=State.values, help="those with this status")
            conditions.add_argument("--limit", type=int, default=least, metavar="N", help="at most so many, the newest")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Run one subcommand."""
        verbs: dict[str, Callable[..., str]] = {"list": _list, "show": _show, "retry": _retry, "give-up": _give_up}
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


def _give_up(host: str | None, task_type: str | None, created_before: str | None, dry_run: bool, **_: Any) -> str:
    if not (host or task_type or created_before):
        raise CommandError("give a condition: --host example.org:443, --type NAME, --created-before MOMENT")
    if created_before and moment_of(created_before) is None:
        raise CommandError(f"{harmless(created_before)!r} is no time with an offset such as 2026-01-31T09:00:00Z")
    before = moment_of(created_before) if created_before else None
    rows = pending_of(host, task_type, before)
    if dry_run:
        found = counted(rows)
        hosts = ", ".join(f"{count:,} to {harmless(name)}" for name, count in found.by_host.most_common())
        more = "" if found.exact else "at least "
        return f"{more}{found.matched:,} pending {plural(found.matched, 'callback')}{': ' if hosts else ''}{hosts}"
    done, actor = 0, system_account()
    while count := give_up(rows, actor, host=host, type=task_type, created_before=before):
        done += count
    left = counted(rows).matched  # a node held them
    more = f"; {left:,} that a node is writing {plural(left, 'is', 'are')} left: run this again" if left else ""
    return f"{done:,} {plural(done, 'callback')} {plural(done, 'is', 'are')} given up{more}"


def _id(text: str, what: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise CommandError(f"{harmless(text)!r} is no id of a {what}") from None
