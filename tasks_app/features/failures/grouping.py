"""Failed tasks are counted in the groups of their errors; no task is moved.

Failures of the same handler and reason whose errors differ only in details are one group: they have one fingerprint.
Exit codes, signals and HTTP statuses are no details; the last line of stderr in the error of a crash is one.
A task with a `failure_group` is counted. Tasks are marked and counted in one transaction, so that each final failure is
counted once, whatever process dies. A cursor along `completed_at` would miss rows that commit late.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from django.db.models import BigIntegerField, Case, Value, When
from django.db.models.functions import Coalesce, Now, Substr

from tasks_app.features.failures import UNGROUPED
from tasks_app.features.failures.models import OTHER, FailureGroup, UngroupedFailure
from tasks_app.logs import harmless
from tasks_app.node.threads import OutageGuard
from tasks_app.process import fail_point
from tasks_app.queue.current import require_all, store, writing
from tasks_app.queue.due_work import DueWork
from tasks_app.queue.followed import Leaves
from tasks_app.queue.maintenance import run_batches
from tasks_app.queue.models import FailureReason, Status, Task, TaskQuerySet
from tasks_app.queue.node_models import Deployment
from tasks_app.runner.endings import split_stderr

#: Characters of an error that are looked at, and of a normalised one that are kept.
MAX_READ_CHARS, MAX_NORMALISED_CHARS = 2_000, 300

# Each pattern takes time in proportion to the text: none can match a character in two ways.
_ESCAPES = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,8}[@-~]")
_REPLACED = (
    # The only words that the errors of a container's first call and of its later ones do not have in common.
    (re.compile(r" \(plus [\d.]+ s of start_timeout: its container was new\)"), ""),
    # Before numbers, of which these consist.
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\b"), "<id>"),
    # An apostrophe within a word (can't) begins no quotation.
    (re.compile(r"""(?<!\w)'[^'\n]{0,500}'(?!\w)|"[^"\n]{0,500}"|“[^”\n]{0,500}”|`[^`\n]{0,500}`"""), "<text>"),
    (re.compile(r"(?<=://)[^\s/?#]{1,300}"), "<host>"),
    (re.compile(r"\?[^\s?]{1,500}=[^\s?]{0,500}"), "?<query>"),
    # A part of a path with a digit; `/usr/lib/x.py` stays.
    (re.compile(r"(?<=/)[^\s/:,;()<>]{0,200}?\d[^\s/:,;()<>]{0,200}"), "<part>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]{0,64}\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)

#: Numbers that say what went wrong: exit codes and signals after their names, HTTP statuses after or before theirs.
_TELLING = re.compile(
    r"""(?:
      (?: \bexit(?:ed|s)?(?:[ _-]?(?:with|an?|non-?zero|error|code|status|value)){0,4}
        | \breturn[ _-]?code | \brc | \bsignal(?:[ ]number)? )  ["' :=(]{1,4}-?(\d{1,3})
    | (?: \bHTTP(?:/\d(?:\.\d)?)?(?:[ _-]?(?:status|error|response|code)){0,3}["' :=(]{0,4}
        | \b(?:status|response)(?:[ _-]?code)?["' :=(]{1,4}
        | \b(?:responded|replied|answered)[ ]with[ ] | \breturned[ ]error:?[ ] )  ([1-5]\d\d)
    | \b([1-5]\d\d)(?=[ ](?:Client|Server)[ ]Error\b|,[ ]message=|[ ](?:Bad[ ]Request|Unauthorized|Forbidden
        |Not[ ]Found|Method[ ]Not[ ]Allowed|Request[ ]Time-?out|Conflict|Gone|Unprocessable|Too[ ]Many[ ]Requests
        |Internal[ ]Server[ ]Error|Bad[ ]Gateway|Service[ ]Unavailable|Gateway[ ]Time-?out)\b)
    )(?![.,:]?\d)""",
    re.IGNORECASE | re.VERBOSE,
)
# While patterns replace numbers, the digits of telling ones are characters of no pattern.
_HIDDEN = {ord("0") + digit: 0xE000 + digit for digit in range(10)}
_SHOWN = {hidden: digit for digit, hidden in _HIDDEN.items()}
_HIDDEN_NUMBER = re.compile("[\ue000-\ue009]+")


def normalised(error: str) -> str:
    """The beginning of an error on one line, with numbers, ids, quoted texts and variable parts of paths replaced.

    Exit codes, signals and HTTP statuses stay; of those in a quoted text, before it.
    """
    text = _ESCAPES.sub("", error[:MAX_READ_CHARS])
    if hidden := _TELLING.search(text) is not None:
        text = _TELLING.sub(_hide, text)
    for pattern, instead in _REPLACED:
        text = pattern.sub(_keep_hidden if hidden and instead == "<text>" else instead, text)
    text = text.translate(_SHOWN) if hidden else text
    return harmless(" ".join(text.split()))[:MAX_NORMALISED_CHARS]


def _hide(found: re.Match[str]) -> str:
    number = found[found.lastindex or 0]
    return found[0][: -len(number)] + number.translate(_HIDDEN)


def _keep_hidden(quoted: re.Match[str]) -> str:
    return " ".join([*_HIDDEN_NUMBER.findall(quoted[0]), "<text>"])


def fingerprint(handler: str, reason: str, normalised_error: str) -> int:
    """63 bits: a bigint that is not negative."""
    text = "\0".join((handler, reason, normalised_error))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) >> 1


TASKS_PER_TRANSACTION = 250
TRANSACTIONS_PER_CALL = 40
#: A group is removed after so long without a failure; older failures are not counted.
KEEP_DAYS = 30
#: Groups of a handler. Further errors are counted in its group `OTHER`, one for each reason.
MAX_GROUPS_PER_HANDLER = 200
#: If a handler has that many, those with one failure give way after so long.
KEEP_SINGLE_DAYS = 1
#: Of a group's counts by hour.
MAX_HOURS = 7 * 24


#: By what a failure has, the column of the task that shows it.
_ERROR = Coalesce(Substr("last_error", 1, MAX_READ_CHARS), Value(""))
_COLUMNS: dict[str, str | Coalesce] = {
    "task": "pk", "handler": "task_type", "reason": "failure_reason", "error": _ERROR, "ended_at": "completed_at"
}  # fmt: skip


def group_failures() -> int:
    """Count failures that are not counted yet, for a second and 10,000 at most. Returns how many."""
    batch = partial(_group_batch, store().first_times().ended("ungrouped"))
    return run_batches(batch, TASKS_PER_TRANSACTION, TRANSACTIONS_PER_CALL)


def _group_batch(first: datetime) -> int:
    failed = _to_count().filter(completed_at__gte=first)
    # Reads: they take no lock if there is nothing to do.
    if not failed.any_by("completed_at") and not UngroupedFailure.objects.exists():
        return 0
    with writing():
        if not _alone():
            return 0
        left = list(UngroupedFailure.objects.order_by("pk")[:TASKS_PER_TRANSACTION])
        rows = failed.order_by("completed_at").select_for_update(skip_locked=True)
        failures = _failures(rows, TASKS_PER_TRANSACTION - len(left))
        UngroupedFailure.objects.filter(pk__in=[row.pk for row in left]).delete()
        _count(_by_group(failures), _by_group(left))
        fail_point("inside_grouping")
    return len(failures) + len(left)


def _to_count() -> TaskQuerySet:
    return Task.objects.where(UNGROUPED).filter(completed_at__gte=Now() - timedelta(days=KEEP_DAYS))


def _failures(rows: TaskQuerySet, most: int | None = None) -> list[UngroupedFailure]:
    stored = rows.values_list(*_COLUMNS.values())[:most]
    return [UngroupedFailure(**dict(zip(_COLUMNS, row, strict=True))) for row in stored]


def _alone() -> bool:
    """Whether this transaction is the only one that changes groups, from now on. Waits for none."""
    return Deployment.objects.select_for_update(skip_locked=True).first() is not None


class _Kind(NamedTuple):
    """What the failures of a group have in common."""

    handler: str
    reason: str
    error: str


_Groups = dict[_Kind, list[UngroupedFailure]]


def _by_group(failures: Iterable[UngroupedFailure]) -> _Groups:
    groups: _Groups = {}
    for failure in failures:
        error = failure.error
        if failure.reason == FailureReason.CRASH:
            error, _ = split_stderr(error)
        groups.setdefault(_Kind(failure.handler, failure.reason, normalised(error)), []).append(failure)
    return groups


def _count(stored: _Groups, left: _Groups) -> None:
    """Count them, and mark the tasks of those that are stored."""
    marks = _fingerprints({*stored, *left})
    groups = FailureGroup.objects.in_bulk(list(set(marks.values())))
    for kind, failures in [*stored.items(), *left.items()]:
        mark = marks[kind]
        if mark not in groups:
            is_other = mark != fingerprint(kind.handler, kind.reason, kind.error)
            first = failures[0].ended_at
            groups[mark] = FailureGroup(
                fingerprint=mark, handler=kind.handler, reason=kind.reason,
                normalised=OTHER if is_other else kind.error, telling_numbers=True, first_seen=first, last_seen=first,
            )  # fmt: skip
        _add(groups[mark], failures)
    FailureGroup.objects.bulk_create(
        groups.values(),
        update_conflicts=True,
        unique_fields=["fingerprint"],
        # Not `resolved_at`: an operator may be writing it.
        update_fields=["sample_error", "sample_task", "first_seen", "last_seen", "count", "hours"],
    )
    tasks: dict[int, list[UUID]] = {}
    for kind, failures in stored.items():
        tasks.setdefault(marks[kind], []).extend(failure.task for failure in failures)
    if not tasks:
        return
    chosen = Case(*(When(pk__in=ids, then=Value(mark)) for mark, ids in tasks.items()), output_field=BigIntegerField())
    ids = [key for same in tasks.values() for key in same]
    require_all(Task.objects.filter(pk__in=ids).update(failure_group=chosen), len(ids))


def _fingerprints(kinds: set[_Kind]) -> dict[_Kind, int]:
    """The fingerprint of each; that of its handler's other errors once the handler has its most groups."""
    marks = {kind: fingerprint(kind.handler, kind.reason, kind.error) for kind in sorted(kinds)}
    known = set(FailureGroup.objects.filter(pk__in=marks.values()).values_list("pk", flat=True))
    new = [kind for kind, mark in marks.items() if mark not in known]
    room = {handler: _room(handler, wanted) for handler, wanted in Counter(kind.handler for kind in new).items()}
    for kind in new:
        room[kind.handler] -= 1
        if room[kind.handler] < 0:
            marks[kind] = fingerprint(kind.handler, kind.reason, OTHER)
    return marks


def _room(handler: str, wanted: int) -> int:
    """How many groups a handler may still get."""
    groups = FailureGroup.objects.filter(handler=handler).exclude(normalised=OTHER)
    room = MAX_GROUPS_PER_HANDLER - groups.count()
    if room < wanted:
        single = groups.filter(count=1, last_seen__lt=Now() - timedelta(days=KEEP_SINGLE_DAYS))
        room += single.delete()[0]
    return room


def _add(group: FailureGroup, failures: Sequence[UngroupedFailure]) -> None:
    latest = max(failures, key=lambda failure: failure.ended_at)
    if group.count == 0 or latest.ended_at >= group.last_seen:
        group.sample_error, group.sample_task = latest.error, latest.task
    group.first_seen = min(group.first_seen, *(failure.ended_at for failure in failures))
    group.last_seen = max(group.last_seen, latest.ended_at)
    group.count += len(failures)
    hours = Counter({int(hour): count for hour, count in group.hours.items()})
    hours.update(hour_of(failure.ended_at) for failure in failures)
    oldest = hour_of(group.last_seen) - MAX_HOURS
    group.hours = {str(hour): count for hour, count in sorted(hours.items()) if hour > oldest}


def hour_of(moment: datetime) -> int:
    """Hours since 1970."""
    return int(moment.timestamp() // 3600)


def keep_ungrouped(ids: Sequence[UUID]) -> None:
    """In the caller's transaction, which has locked them, before failed tasks change: failures that are not counted
    yet are counted later."""
    UngroupedFailure.objects.bulk_create(_failures(_to_count().filter(pk__in=ids)))


leaves = Leaves(
    keep_ungrouped,
    concerns=lambda task: task.status == Status.FAILED and task.failure_group is None,
    columns=("failure_group",),
)


def remove_old_groups() -> int:
    """Remove groups without a failure for KEEP_DAYS. Returns how many."""
    old = FailureGroup.objects.filter(last_seen__lt=Now() - timedelta(days=KEEP_DAYS))
    if not old.exists():
        return 0
    with writing():
        return old.delete()[0] if _alone() else 0


#: Between two times, at least; and at most this share of the heartbeat's time, even if many tasks fail.
PAUSE_SECONDS, MAX_SHARE = 2.0, 0.2
#: Between two removals of old groups.
REMOVAL_SECONDS = 600.0
#: After a failure of the database.
RETRY_SECONDS = 10.0


class FailureGroups:
    """A node's side job."""

    def __init__(self, node: str) -> None:
        self._job = OutageGuard("count failures in their groups", RETRY_SECONDS)
        self._next_at = self._removal_at = float("-inf")

    def run(self, work: DueWork) -> None:
        """Count failures if it is time, and remove groups that are old. Raises nothing."""
        begun = store().elapsed()
        if not (work.features & {"ungrouped", "kept_failures"} or begun >= self._removal_at):
            return
        if begun >= self._next_at and self._job.run(self._count):
            now = store().elapsed()
            self._next_at = now + max(PAUSE_SECONDS, (now - begun) * (1 / MAX_SHARE - 1))

    def _count(self) -> None:
        group_failures()
        if (now := store().elapsed()) >= self._removal_at:
            remove_old_groups()
            self._removal_at = now + REMOVAL_SECONDS
