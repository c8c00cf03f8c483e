"""Commands about handlers, nodes, schedules and operations."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, cast

import click

from taskdaemon_client import Client
from taskdaemon_client.answers import Delivery, Firing, GivenUp, Handler, LimitKey, Node, Operation, Preview, Schedule
from taskdaemon_client.command import follow
from taskdaemon_client.command.ends import TIME_OVER
from taskdaemon_client.command.options import (
    FILTERS,
    JSON,
    NAME,
    SECONDS,
    given,
    id_argument,
    limit_option,
    timeout_option,
)
from taskdaemon_client.command.output import Fields, Raw, columns, say, write_id, write_list, write_object
from taskdaemon_client.command.tasks import OF_ALL, of_operations, on_all
from taskdaemon_client.command.words import (
    Command,
    Commands,
    calls,
    fields_of,
    handler_types,
    node_names,
    schedule_names,
)
from taskdaemon_client.options import ScheduleDefinition

HANDLER_COLUMNS = columns(
    "type",
    ("BUSY", lambda of: of["slots"]["busy"]),
    ("WARM", lambda of: of["slots"]["warm"]),
    ("SLOTS", lambda of: of["slots"]["all"]),
    ("TIMEOUT", lambda of: f"{of['limits']['timeout']:g}s"),
    ("STATE", lambda of: "paused" if of["paused"] else of["drained_on"] and f"drained on {len(of['drained_on'])}"),
    "problem",
)
LIMIT_KEY_COLUMNS = columns("limit_key", "running", "ready", "held", ("OLDEST", itemgetter("oldest")))
NODE_COLUMNS = columns(
    "name", "state", "running", "cap",
    ("SEEN", lambda of: f"{of['seen_at'][:19]}Z"),
    ("HANDLERS", lambda of: ", ".join(each["type"] for each in of["handlers"])),
    ("PROBLEMS", lambda of: "; ".join(of["problems"])),
)  # fmt: skip
SCHEDULE_COLUMNS = columns(
    "name", "type",
    ("WHEN", lambda of: of["cron"] or of["every"]),
    "timezone",
    ("STATE", lambda of: "paused" if of["paused"] else "" if of["enabled"] else "off"),
    ("NEXT", lambda of: next(iter(of["next"]), None)),
    ("LAST", lambda of: of["last"] and of["last"]["outcome"]),
)  # fmt: skip
FIRING_COLUMNS = columns("scheduled_for", "outcome", "count", ("TASK", itemgetter("task_id")), "reason")
OPERATION_COLUMNS = columns(
    "id", ("ACT", itemgetter("verb")), "state", "matched", "done",
    ("SKIPPED", lambda of: sum(of["skipped"].values())),
    "failed", ("BY", itemgetter("created_by")),
)  # fmt: skip
CALLBACK_COLUMNS = columns("id", "event", "status", "tries", ("NEXT", itemgetter("next_at")), "url", "last_error")

type_argument = click.argument("type", type=NAME, metavar="TYPE", shell_complete=handler_types)
node_argument = click.argument("node", type=NAME, metavar="NODE", shell_complete=node_names)
name_argument = click.argument("name", type=NAME, metavar="NAME", shell_complete=schedule_names)
reason_option = click.option("--reason", metavar="TEXT", help="Why; `why`, /health and the admin repeat it.")


@click.command(cls=Command, shows=Handler)
@click.argument("type", type=NAME, metavar="[TYPE]", required=False, shell_complete=handler_types)
@calls()
def handlers(client: Client, type: str | None, fields: Fields) -> None:
    """List the handlers, or show one."""
    if type is None:
        write_list((handler.raw for handler in client.handlers.list()), HANDLER_COLUMNS, fields)
    else:
        write_object(client.handlers.get(type).raw, fields)


@click.command("limit-keys", cls=Command, shows=LimitKey)
@type_argument
@limit_option
@calls()
def limit_keys(client: Client, type: str, limit: int, fields: Fields) -> None:
    """List the limit keys of a handler: those with the most held tasks first.

    HELD tasks wait for a permit of their key, READY ones for a slot. OLDEST is when the first held task was created.
    """
    write_list((key.raw for key in client.handlers.limit_keys(type, limit=limit)), LIMIT_KEY_COLUMNS, fields)


@click.command(cls=Command, shows=Handler)
@type_argument
@click.option("--for", "for_", type=SECONDS, metavar="SECONDS", help="It ends by itself after this time: 90, 15m, 2h.")
@click.option("--until", metavar="MOMENT", help="It ends by itself at this moment: 2026-01-31T09:00:00Z.")
@reason_option
@click.option("--wait", type=click.IntRange(0, 60), metavar="SECONDS", help="Wait until no task of it runs, 0 to 60.")
@calls()
def pause(
    client: Client,
    type: str,
    for_: float | None,
    until: str | None,
    reason: str | None,
    wait: int | None,
    fields: Fields,
) -> int | None:
    """Pause a handler: workers stop starting its tasks within 2 s.

    New tasks are accepted and wait. Running tasks go on. With --wait it ends with 124 if tasks run after that time.
    """
    handler = client.handlers.pause(type, seconds=for_, until=until, reason=reason, wait=wait)
    _acted(f'"{type}" is paused', handler.raw, fields)
    if wait is None or not handler.busy:
        return None
    for busy in handler.busy:
        say(f"{busy.node} runs {', '.join(busy.tasks) or 'none, but may still start one'}")
    return TIME_OVER


@click.command(cls=Command, shows=Handler)
@type_argument
@calls()
def resume(client: Client, type: str, fields: Fields) -> None:
    """End the pause of a handler."""
    handler = client.handlers.resume(type)
    _acted(f'"{type}" is resumed', handler.raw if handler else {}, fields)


@click.command(cls=Command, shows=Node)
@click.argument("node", type=NAME, metavar="[NODE]", required=False, shell_complete=node_names)
@calls()
def nodes(client: Client, node: str | None, fields: Fields) -> None:
    """List the worker processes, or show one."""
    if node is None:
        write_list((each.raw for each in client.nodes.list()), NODE_COLUMNS, fields)
    else:
        write_object(client.nodes.get(node).raw, fields)


@click.command(cls=Command, shows=Node)
@node_argument
@click.option("--type", metavar="TYPE", shell_complete=handler_types, help="No task of this handler; default: of any.")
@reason_option
@calls()
def drain(client: Client, node: str, type: str | None, reason: str | None, fields: Fields) -> None:
    """Drain a node: it stops starting tasks within 2 s.

    Running tasks go on. The node is empty once `nodes NODE --json state` says drained.
    """
    _acted(f"{node} is drained", client.nodes.drain(node, type=type, reason=reason).raw, fields)


@click.command(cls=Command, shows=Node)
@node_argument
@click.option("--type", metavar="TYPE", shell_complete=handler_types, help="End the drain of this handler.")
@calls()
def undrain(client: Client, node: str, type: str | None, fields: Fields) -> None:
    """End the drain of a node."""
    _acted(f"{node} is no longer drained", client.nodes.undrain(node, type=type).raw, fields)


def _acted(sentence: str, raw: Raw, fields: Fields) -> None:
    """Say what was done, or with --json write the object as it is afterwards."""
    if fields is None:
        say(sentence)
    else:
        write_object(raw, fields)


@click.group(cls=Commands)
def schedules() -> None:
    """Schedules: list, get, put, delete, pause, resume, run, firings."""


@schedules.command("list", cls=Command, shows=Schedule)
@calls()
def list_schedules(client: Client, fields: Fields) -> None:
    """List the schedules."""
    write_list((each.raw for each in client.schedules.list()), SCHEDULE_COLUMNS, fields)


@schedules.command("get", cls=Command, shows=Schedule)
@name_argument
@calls()
def get_schedule(client: Client, name: str, fields: Fields) -> None:
    """Show a schedule."""
    write_object(client.schedules.get(name).raw, fields)


@schedules.command("put", cls=Command, shows=Schedule)
@name_argument
@click.argument("definition", type=JSON, metavar="DEFINITION|-|@FILE")
@calls()
def put_schedule(client: Client, name: str, definition: dict[str, Any], fields: Fields) -> None:
    """Make a schedule, or replace it.

    DEFINITION is a JSON object; `-` reads it from stdin, @FILE from a file. It has a `type`, and a `cron` line or an
    interval, `every`; the rest may be absent:

    \b
    tdctl schedules put nightly '{"type": "report", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}'
    """
    _acted(f'"{name}" is stored', client.schedules.put(name, **cast(ScheduleDefinition, definition)).raw, fields)


@schedules.command("delete", cls=Command)
@name_argument
@calls()
def delete_schedule(client: Client, name: str) -> None:
    """Delete a schedule; its tasks stay."""
    client.schedules.delete(name)
    say(f'"{name}" is deleted')


@schedules.command("pause", cls=Command, shows=Schedule)
@name_argument
@calls()
def pause_schedule(client: Client, name: str, fields: Fields) -> None:
    """Pause a schedule: no tick fires."""
    _acted(f'"{name}" is paused', client.schedules.pause(name).raw, fields)


@schedules.command("resume", cls=Command, shows=Schedule)
@name_argument
@calls()
def resume_schedule(client: Client, name: str, fields: Fields) -> None:
    """End the pause of a schedule."""
    _acted(f'"{name}" is resumed', client.schedules.resume(name).raw, fields)


@schedules.command("run", cls=Command, shows=("task_id",))
@name_argument
@calls()
def run_schedule(client: Client, name: str, fields: Fields) -> None:
    """Make a task of a schedule now. Its id is written to stdout."""
    id = client.schedules.run(name)
    write_id(id, {"task_id": id}, fields)


@schedules.command(cls=Command, shows=Firing)
@name_argument
@limit_option
@calls()
def firings(client: Client, name: str, limit: int, fields: Fields) -> None:
    """List the ticks of a schedule and their outcomes, the newest first."""
    write_list((each.raw for each in client.schedules.firings(name, limit=limit)), FIRING_COLUMNS, fields)


@click.group(cls=Commands)
def operations() -> None:
    """Acts on all tasks that match: list, get, wait, abort.

    They begin with `redrive`, `cancel`, `delete`, `priority` or `callbacks retry` and a filter.
    """


@operations.command("list", cls=Command, shows=Operation)
@limit_option
@calls()
def list_operations(client: Client, limit: int, fields: Fields) -> None:
    """List the operations, the newest first."""
    write_list((each.raw for each in client.operations.list(limit=limit)), OPERATION_COLUMNS, fields)


@operations.command("get", cls=Command, shows=Operation)
@id_argument
@calls()
def get_operation(client: Client, id: str, fields: Fields) -> None:
    """Show an operation."""
    write_object(client.operations.get(id).raw, fields)


@operations.command("wait", cls=Command, shows=Operation)
@id_argument
@timeout_option
@calls()
def wait_for_operation(client: Client, id: str, timeout: float, fields: Fields) -> int | None:
    """Wait for the end of an operation. The command ends with 1 if the operation did not complete."""
    return follow.operation(client, id, timeout, fields)


@operations.command("abort", cls=Command, shows=Operation)
@id_argument
@calls()
def abort_operation(client: Client, id: str, fields: Fields) -> None:
    """End an operation before its next batch. Its changes so far stay."""
    operation = client.operations.abort(id)
    _acted(f"operation {operation.id} is {operation.state}: {operation.sentence}", operation.raw, fields)


@click.group(cls=Commands)
def callbacks() -> None:
    """Messages to the callback URLs of tasks: list, retry, give-up."""


@callbacks.command("list", cls=Command, shows=Delivery)
@id_argument
@calls()
def list_callbacks(client: Client, id: str, fields: Fields) -> None:
    """List the callbacks of a task, the newest first."""
    write_list((each.raw for each in client.callbacks.list(id)), CALLBACK_COLUMNS, fields)


@callbacks.command("retry", cls=Command, shows=fields_of(Delivery, Operation, Preview))
@click.argument("id", type=NAME, metavar="[ID]", required=False)
@of_operations(OF_ALL)
@calls()
def retry_callbacks(
    client: Client, id: str | None, dry_run: bool, to_the_end: bool, fields: Fields, **options: Any
) -> int | None:
    """Send callbacks again: of a task, or of all tasks that match a filter.

    Of a task, the undelivered callbacks and the newest are sent. A filter starts an operation, which the nodes work
    off; its id is written to stdout.
    """
    filter, others = given({name: options.pop(name) for name in FILTERS}), given(options)
    if bool(id) == bool(filter) or (id and (others or dry_run or to_the_end)):
        raise click.UsageError("name a task by its id, or give a filter such as --type, and the options of it")
    if id is None:
        return on_all(client, "callbacks", "retry_callbacks", filter, others, dry_run, to_the_end, fields)
    write_list((each.raw for each in client.callbacks.retry(id)), CALLBACK_COLUMNS, fields)
    return None


@callbacks.command("give-up", cls=Command, shows=GivenUp)
@click.option("--host", metavar="HOST:PORT", help="Those to this host and port, such as example.org:443.")
@click.option("--type", metavar="TYPE", shell_complete=handler_types, help="Those of tasks of this handler.")
@click.option("--created-before", metavar="MOMENT", help="Those written before this moment: 2026-01-31T09:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@calls()
def give_up_callbacks(client: Client, dry_run: bool, fields: Fields, **conditions: str | None) -> None:
    """Let pending callbacks fail without a further try. A callback has to match all given conditions, at least one.

    The command ends once no callback matches any more. Failed callbacks can be sent again.
    """
    if not (filter := given(conditions)):
        raise click.UsageError("give a condition: --host, --type or --created-before")
    answer, done = client.callbacks.give_up(dry_run=dry_run, **filter), 0
    while answer.given_up:
        done += answer.given_up
        answer = client.callbacks.give_up(**filter)
    write_object({**answer.raw, "given_up": done}, fields)
