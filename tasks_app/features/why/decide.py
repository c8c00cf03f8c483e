"""Why a task does not run, when it is likely to start, or how it ended: decided from facts, without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from tasks_app.features.why.facts import MAX_BEFORE, Ended, Facts, NodeFacts
from tasks_app.handlers.words import moment_text, plural, span
from tasks_app.queue.held import Hold
from tasks_app.queue.models import FailureReason, Status, Task
from tasks_app.queue.node_models import HandlerPause

Value = str | int | float | datetime | list[str] | None


#: What may keep a task from running, or what became of it.
Word = Literal[
    "scheduled", "retry", "paused", "no_node", "cannot_start", "starting", "cap", "behind", "ready", "running", "lost",
    "final",
]  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """`sentence` begins with a small letter and has no full stop. `values`: by the names that the API gives them."""

    #: Or the word of a feature that holds tasks back.
    reason: Word | str
    sentence: str
    values: Mapping[str, Value] = field(default_factory=dict)


def as_text(reasons: Sequence[Reason]) -> str:
    """All reasons in one sentence."""
    return "; ".join(reason.sentence for reason in reasons)


#: Characters of a handler's error that a sentence quotes.
MAX_QUOTE_CHARS = 300
#: How a task failed, in words. The last error has the details.
_FAILED = {
    FailureReason.HANDLER_ERROR: "its handler replied with an error that is not retried",
    FailureReason.RETRIES_EXHAUSTED: "its handler replied with an error, and no retry was left",
    FailureReason.TIMEOUT: "its handler did not reply in time",
    FailureReason.CRASH: "its container ended before it replied",
    FailureReason.OOM: "its container ran out of memory",
    FailureReason.BAD_REPLY: "its handler's reply broke the protocol",
    FailureReason.WORKER_LOST: "its worker was lost",
    FailureReason.EXPIRED: "it was not started before it expired",
    FailureReason.CANCELLED: "it was cancelled",
}


def decide(facts: Facts) -> list[Reason]:
    """All reasons that hold, the decisive one first. There is at least one."""
    task = facts.task
    if task.status == Status.PROCESSING:
        return _running(facts)
    if task.status != Status.PENDING:
        return [_final(facts)]
    if task.held:
        unknown = Hold("it is held, and no feature of this deployment lets it go")
        reasons = [_held(facts, hold) for hold in facts.held or [unknown]]
        return reasons if facts.paused is None else [*reasons, _paused(facts.paused)]
    if facts.due_in is not None:
        later = _retry(task, facts.due_in) if task.attempts else _scheduled(task, facts.due_in)
        # A time that has passed is noticed by a node.
        reasons = [later] if facts.due_in > 0 or facts.living else [later, _no_node(facts)]
        return reasons if facts.paused is None else [*reasons, _paused(facts.paused)]
    serving = [node for node in facts.nodes if not node.draining]
    if facts.paused is not None:
        # What it would wait for otherwise is not known: nothing of its type runs.
        return [_paused(facts.paused)] if serving else [_paused(facts.paused), _no_node(facts)]
    if not serving:
        return [_no_node(facts)]
    held = [_held(facts, hold) for hold in facts.held]
    return [*held, *(reason for reason in _queued(facts, serving) if not held or reason.reason != "ready")]


def _held(facts: Facts, hold: Hold) -> Reason:
    """A reason of a feature, with an estimate if it knows how many tasks are before this one."""
    if hold.before is None or hold.at_once is None:
        return Reason(hold.reason, hold.sentence, hold.values)
    # How long the task has been ready says nothing of it: the ends since then are those of all tasks of the type.
    guess = estimate(hold.before, hold.at_once, 0.0, facts.ended)
    values = {
        **hold.values,
        "estimate_seconds": _rounded(guess.seconds) if guess else None,
        "estimate_from": guess.source if guess else None,
    }
    soon = f"; it is likely to start in about {span(guess.seconds)}" if guess else ""
    return Reason(hold.reason, hold.sentence + soon, values)


def _paused(pause: HandlerPause) -> Reason:
    values: dict[str, Value] = {
        "by": pause.paused_by, "since": pause.paused_at, "until": pause.until, "given_reason": pause.reason
    }  # fmt: skip
    said = f"its type is paused by {_quote(pause.paused_by)} since {moment_text(pause.paused_at)}"
    until = "" if pause.until is None else f", until {moment_text(pause.until)}"
    return Reason("paused", said + until + _because(pause.reason), values)


def _because(reason: str | None) -> str:
    return f" ({_quote(reason)})" if reason else ""


def _scheduled(task: Task, seconds: float) -> Reason:
    values = {"due_at": task.due_at, "seconds": _rounded(max(seconds, 0.0))}
    if seconds <= 0:
        return Reason("scheduled", "its time has come, which a worker notices within a second", values)
    return Reason("scheduled", f"it is scheduled to start in {span(seconds)}", values)


def _retry(task: Task, seconds: float) -> Reason:
    values = {
        "due_at": task.due_at,
        "seconds": _rounded(max(seconds, 0.0)),
        "attempt": task.attempts,
        "retries": task.retries,
        "max_retries": task.max_retries,
        "last_error": task.last_error,
    }
    when = f"in {span(seconds)}" if seconds > 0 else "now, which a worker notices within a second"
    budget = "" if task.max_retries is None else f" (retry {task.retries} of {task.max_retries})"
    said = f"attempt {task.attempts} failed{_quoted(task)}; it is tried again {when}{budget}"
    return Reason("retry", said, values)


def _no_node(facts: Facts) -> Reason:
    values = {"workers": facts.living}
    if not facts.living:
        return Reason("no_node", "no worker lives", values)
    if facts.nodes:
        drains = [node.drained for node in facts.nodes if node.drained is not None]
        by = sorted({_quote(drain.by) + _because(drain.reason) for drain in drains})
        said = f"are drained by {' and '.join(by)}" if by else "are stopping"
        if by and len(drains) < len(facts.nodes):
            said = f"are stopping, or {said}"
        return Reason("no_node", f"the only workers that serve its type {said}", values)
    unknown = "" if facts.known else ", and this server's handlers.toml does not have it"
    which = "the only worker does not serve" if facts.living == 1 else f"none of {facts.living} workers serves"
    return Reason("no_node", f"{which} its type{unknown}", values)


def _queued(facts: Facts, serving: Sequence[NodeFacts]) -> list[Reason]:
    reasons = []
    warm, slots = sum(node.warm for node in serving), sum(node.slots for node in serving)
    problems = sorted({node.problem for node in serving if node.problem})
    if problems and warm < slots:
        reasons.append(_cannot_start(problems, warm, slots))
    if not warm:
        waits = f"the containers of its type are starting: none of {slots} is ready"
        return reasons or [Reason("starting", waits, {"slots": slots})]
    able = [node for node in serving if node.warm]
    free = sum(node.free for node in able)
    capped = [node for node in able if node.capped]
    # If some are not, a cap matters only on a worker with a slot for it.
    if len(capped) < len(able):
        capped = [] if free else [node for node in capped if node.active < node.warm]
    if capped:
        reasons.append(_cap(capped, len(able)))
    if facts.before or not free:
        busy = min(sum(node.active for node in serving), warm)
        return [*reasons, _behind(facts, busy, warm, slots, bool(capped))]
    which = "a slot is free" if free == 1 else f"{free} slots are free"
    return [*reasons, Reason("ready", f"nothing: {which}, so it starts within a second")]


def _cannot_start(problems: list[str], warm: int, slots: int) -> Reason:
    which = f"{slots - warm} of {slots} containers cannot start" if warm else "its containers cannot start"
    quoted = "; ".join(map(_quote, problems))
    return Reason("cannot_start", f"{which}: {quoted}", {"problems": problems, "slots": slots, "warm": warm})


def _cap(capped: Sequence[NodeFacts], able: int) -> Reason:
    """`able`: how many workers have a container for it."""
    cap, running = sum(node.cap or 0 for node in capped), sum(node.running for node in capped)
    count = len(capped)
    workers = "the worker" if able == 1 else f"the {able} workers" if count == able else f"{count} of {able} workers"
    run = f"{workers} {plural(count, 'runs', 'run')} {running} {plural(running, 'task')}"
    said = f"{run} of all types at once, as many as DAEMON_WORKERS allows"
    return Reason("cap", said, {"cap": cap, "running": running})


def _behind(facts: Facts, busy: int, warm: int, slots: int, capped: bool) -> Reason:
    before = facts.before
    place = before + 1 if before <= MAX_BEFORE else None
    # Under a cap, types share what runs at once; as many as run now is the best guess of this one's share.
    parallel = min([busy if capped else warm, *(hold.at_once for hold in facts.held if hold.at_once is not None)])
    guess = estimate(before, parallel, facts.ready_for, facts.ended) if place else None
    values = {
        "place": place,
        "slots": slots,
        "busy": busy,
        "estimate_seconds": _rounded(guess.seconds) if guess else None,
        "estimate_from": guess.source + _if_none_come_before(facts) if guess else None,
    }
    soon = f"; it is likely to start in about {span(guess.seconds)}" if guess else ""
    return Reason("behind", _slots(busy, warm) + _queue(before) + soon, values)


def _slots(busy: int, warm: int) -> str:
    if busy < warm:
        return f"{busy} of {warm} slots of its type are busy"
    return "the only slot of its type is busy" if warm == 1 else f"all {warm} slots of its type are busy"


def _queue(before: int) -> str:
    if before > MAX_BEFORE:
        return f", and more than {MAX_BEFORE:,} tasks are before it"
    if not before:
        return ", and it is the next"
    return f", and {before:,} {plural(before, 'task is', 'tasks are')} before it"


def _if_none_come_before(facts: Facts) -> str:
    """What the estimate does not know: in these orders, new tasks may start before older ones."""
    first = {"lifo": "; newer tasks start first", "priority": "; tasks of higher priority start first"}
    return first.get(facts.order, "")


def _running(facts: Facts) -> list[Reason]:
    task = facts.task
    seconds = max(facts.ran_for or 0.0, 0.0)
    values = {
        "attempt": task.attempts,
        "node": task.node,
        "started_at": task.started_at,
        "seconds": _rounded(seconds),
        "timeout": task.timeout,
    }
    limit = f" of at most {span(task.timeout)}" if task.timeout else ""
    said = f"attempt {task.attempts} has been running for {span(seconds)}{limit} on worker {task.node}"
    running = Reason("running", said, values)
    if facts.node_lives:
        return [running]
    silent = "has ended" if facts.silent is None else f"has been silent for {span(facts.silent)}"
    then = "another one takes the task over" if facts.living else "no other worker lives to take the task over"
    values = {"node": task.node, "silent_seconds": None if facts.silent is None else _rounded(facts.silent)}
    return [Reason("lost", f"its worker {task.node} {silent}; {then}", values), running]


def _final(facts: Facts) -> Reason:
    task = facts.task
    values = {
        "status": task.status,
        "failure_reason": task.failure_reason,
        "attempts": task.attempts,
        "completed_at": task.completed_at,
        "last_error": task.last_error,
    }
    tries = f"attempt {task.attempts}" if task.attempts else "no attempt"
    if task.status == Status.COMPLETED:
        took = "" if facts.ran_for is None else f", which took {span(max(facts.ran_for, 0.0))}"
        return Reason("final", f"it completed with {tries}{took}", values)
    how = _FAILED.get(FailureReason(task.failure_reason), "") if task.failure_reason else ""
    if task.failure_reason in (FailureReason.EXPIRED, FailureReason.CANCELLED):
        return Reason("final", f"it failed: {how}", values)
    return Reason("final", f"it failed with {tries}: {how}{_quoted(task)}", values)


def _quoted(task: Task) -> str:
    quote = _quote(task.last_error or "")
    return f" ({quote})" if quote else ""


def _quote(text: str) -> str:
    """A handler's text on one line, cut. Control characters are escaped: sentences are shown in terminals."""
    flat = " ".join(text[: MAX_QUOTE_CHARS * 2].split())[:MAX_QUOTE_CHARS]
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in flat)


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


# When a queued task is likely to start, from the attempts of its type that ended last.
# While a task waits, its type has more tasks than slots. So the attempts that ended since it became ready give the
# rate of all slots together. If there are too few of them, the mean time of an attempt gives it: a slot that is free
# takes the next task at once.

#: Attempts that ended earlier count only if there are fewer than MIN_ATTEMPTS later ones.
RECENT_SECONDS = 300.0
MIN_ATTEMPTS = 10
#: So many attempts, and so many for each slot, must have ended since the task became ready for their rate to be used.
MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT = 20, 3
#: More are not used: the rate may have been another one earlier, or zero while no node lived.
MAX_FOR_RATE = 200


class Estimate(NamedTuple):
    """`seconds` until the task starts, and `source`: from what they were computed."""

    seconds: float
    source: str


def estimate(before: int, slots: int, ready_for: float, ended: Sequence[Ended]) -> Estimate | None:
    """When a task starts that has so many before it, with so many `slots` that all run tasks; None: unknown.

    `ready_for`: for how many seconds the task has been ready. `ended`: the newest first.
    """
    if not slots or not ended:
        return None
    since = [attempt for attempt in ended if attempt.ago < ready_for]
    since = since[: max(MAX_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots)]
    if len(since) >= max(MIN_FOR_RATE, MIN_FOR_RATE_PER_SLOT * slots):
        within = since[-1].ago
        between = within / (len(since) - 1)
        source = f"{len(since)} attempts of this type ended in the last {span(within)}, while this task waited"
    else:
        recent = [attempt for attempt in ended if attempt.ago <= RECENT_SECONDS]
        used = recent if len(recent) >= MIN_ATTEMPTS else ended[:MIN_ATTEMPTS]
        mean = sum(attempt.took for attempt in used) / len(used)
        between = mean / slots
        which = "the last attempt" if len(used) == 1 else f"the last {len(used)} attempts"
        average = plural(len(used), "", " on average")
        source = f"{which} of this type took {span(mean)}{average}; {slots} {plural(slots, 'slot')}"
    rounds, rest = divmod(before, slots)
    seconds = rounds * between * slots + _until_free(between * slots, slots, ended)[rest]
    return Estimate(max(seconds, between / 2), source)


def _until_free(took: float, slots: int, ended: Sequence[Ended]) -> list[float]:
    """When each slot is likely to be free, the first one first.

    A slot began its task when its last one ended, so the last ends tell when the running attempts began. Slots without
    one began at unknown times: they end evenly spread.
    """
    known = [max(took - attempt.ago, 0.0) for attempt in ended[:slots]]
    unknown = slots - len(known)
    return sorted([*known, *(took * (n + 1) / (unknown + 1) for n in range(unknown))])
