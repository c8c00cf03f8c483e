"""Whether limits held: by the handlers' own reports of begin and end, rates by the attempts' `started_at`."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import Evidence, Story
from tests.chaos.limits import LIMITED, MENDED, RAN_OUT
from tests.chaos.outages import OF_TASKS

#: From a change until each worker goes by it.
CHANGE_SECONDS = 5.0
#: Clocks of a database have milliseconds at best.
ROUNDING_SECONDS = 0.005
#: Of two tasks of a key that both are ready, the second one may be claimed so long before the first, by another node.
BESIDE_SECONDS = 1.0
#: A start is by the rate if the one before was so many intervals before it at most.
BY_THE_RATE = 1.5
#: From a claim to the handler's begin, for a task whose attempts are gone.
BEGIN_SECONDS = 2.0
#: Faults for which a handler may outlive a takeover: nobody could end it.
OUTLIVES = ("engine", "node.freeze")


@dataclass(frozen=True)
class Run:
    """A handler's work from `begun` to `over`. `claimed`: when it was allowed to begin."""

    task: str
    attempt: int
    key: str | None
    claimed: float
    begun: float
    over: float

    def __str__(self) -> str:
        return f"{self.task} (attempt {self.attempt}, {self.begun:.3f} to {self.over:.3f})"


@dataclass(frozen=True)
class First:
    """A task with a key: when its request was sent and answered, and when its first attempt was claimed."""

    task: str
    priority: int
    sent: float
    answered: float
    claimed: float


def limit_faults(evidence: Evidence) -> Iterator[str]:
    """A sentence for each limit that was exceeded, and for each two tasks of a key in the wrong order."""
    for limit, key, beside, most in starts(evidence):
        if len(beside) > most:
            of = f" of the key {key}" if limit == "max_running_per_key" else ""
            yield f"{len(beside)} tasks{of} ran at once, of at most {most:g}: {', '.join(map(str, beside))}"
    for before, after, least in gaps(evidence):
        if after - before < least - ROUNDING_SECONDS:
            yield f"starts at {before:.3f} and {after:.3f} are {after - before:.3f} s apart, at least {least:g} by rate"
    for key, one, other in ordered(evidence):
        if evidence.outages.late(OF_TASKS, other.claimed, one.claimed, BESIDE_SECONDS):
            yield (
                f"of the key {key} {other.task} was claimed {one.claimed - other.claimed:.3f} s before {one.task},"
                f" which was accepted {other.sent - one.answered:.3f} s before it was posted\n"
                + "\n".join(evidence.stories[each.task].history() for each in (one, other))
            )


def starts(evidence: Evidence) -> Iterator[tuple[str, str | None, list[Run], float]]:
    """For each start and limit: the limit's name, the key, all that ran then with it, and how many were allowed."""
    runs = sorted(_runs(evidence), key=lambda run: run.begun)
    by_key: dict[str | None, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[run.key].append(run)
    for limit, key, its in (
        ("max_running", None, runs),
        *(("max_running_per_key", key, its) for key, its in by_key.items() if key is not None),
    ):
        going: list[Run] = []
        for run in its:
            going = [*(one for one in going if one.over > run.begun), run]
            since = run.claimed - CHANGE_SECONDS * evidence.outages.slowness
            since -= evidence.outages.within(OF_TASKS, since, run.claimed)
            yield limit, key, going, evidence.limits.most(limit, since, run.begun)


def gaps(evidence: Evidence) -> Iterator[tuple[float, float, float]]:
    """Each two starts that follow one another, and the seconds that must be between them at least."""
    claimed = sorted(
        one["started_at"]
        for task, row in evidence.tasks.items()
        if row["task_type"] == LIMITED
        for one in evidence.attempts.get(task, [])
    )
    for before, after in itertools.pairwise(claimed):
        yield before, after, evidence.limits.least_seconds(before, after + 1.0)


def ordered(evidence: Evidence) -> Iterator[tuple[str, First, First]]:
    """Each two tasks of a key of which the first one must be claimed before the other."""
    by_key: dict[str, list[First]] = defaultdict(list)
    for story in evidence.stories.values():
        if found := _first(story, evidence):
            by_key[found[0]].append(found[1])
    for key, its in by_key.items():
        for one, other in itertools.permutations(its, 2):
            goes_first = evidence.selection == "fifo" or one.priority >= other.priority
            if goes_first and one.answered < other.sent:
                yield key, one, other


def brought_about(evidence: Evidence) -> dict[str, int]:
    """How often each limit decided something."""
    found = Counter[str]({"starts at max_running": 0, "starts at max_running_per_key": 0, "starts by the rate": 0})
    for limit, _, beside, most in starts(evidence):
        found[f"starts at {limit}"] += len(beside) == most
    found["starts by the rate"] = sum(
        least > 0 and after - before < BY_THE_RATE * least for before, after, least in gaps(evidence)
    )
    found["tasks of one key compared"] = sum(1 for _ in ordered(evidence))
    found["limits in force"] = len(
        {(each.max_running, each.max_running_per_key, each.seconds) for each in evidence.limits.samples}
    )
    found["posts beyond max_queue"] = sum(line["status"] == 429 for line in evidence.lines("refused"))
    return dict(found)


def _runs(evidence: Evidence) -> Iterator[Run]:
    """Those whose handlers have reported an end: when another one was killed is not known."""
    posts = {line["task"]: evidence.posts.get(line["n"], {}) for line in evidence.lines("accepted")}
    for story in evidence.stories.values():
        post = posts.get(story.task) or evidence.post_of(story.row or {"task_data": {}})
        if post.get("type") != LIMITED:
            continue
        attempts = {one["number"]: one for one in story.attempts}
        ends = {(event.attempt, event.process): event.at for event in story.events if event.what == "end"}
        for event in story.starts:
            over = ends.get((event.attempt, event.process))
            if over is None or evidence.undid(event.at):
                continue
            attempt = attempts.get(event.attempt)
            claimed = event.at - BEGIN_SECONDS if attempt is None else attempt["started_at"]
            if attempt is not None and _outlived(attempt, over, evidence):
                over = attempt["ended_at"]
            yield Run(story.task, event.attempt, post.get("limit_key"), claimed, event.at, over)


def _outlived(attempt: dict[str, Any], over: float, evidence: Evidence) -> bool:
    """Whether a handler went on after another node had taken its task over, which could not end it."""
    taken_over = attempt["outcome"] == "worker_lost" and attempt["ended_at"] < over
    return taken_over and evidence.outages.hit(OUTLIVES, attempt["started_at"], attempt["ended_at"])


def _first(story: Story, evidence: Evidence) -> tuple[str, First] | None:
    """Nothing of a task that a client has locked meanwhile, or that may have been stored at another moment."""
    row = story.row
    if row is None or row["task_type"] != LIMITED or not story.attempts or story.attempts[0]["number"] != 1:
        return None
    post = evidence.post_of(row)
    answered = _at(story.lines, "accepted")
    touched = any(story.has(what) for what in ("cancel", "delete"))
    if not post.get("limit_key") or answered is None or touched or {"key", "expires_in"} & post.keys():
        return None
    claimed = story.attempts[0]["started_at"]
    if evidence.undid(claimed):
        return None
    return post["limit_key"], First(story.task, row["priority"], post["at"], answered, claimed)


def _at(lines: Iterable[dict[str, Any]], what: str) -> float | None:
    return next((line["at"] for line in lines if line["what"] == what), None)


def repair_faults(logged: Iterable[str], nodes_were_hurt: bool) -> Iterator[str]:
    """A sentence for each repair of permits that no fault explains. `logged`: the lines of the nodes' logs."""
    for line in logged:
        if MENDED in line or (RAN_OUT in line and "permit" in line and not nodes_were_hurt):
            yield f"permits were repaired, and no fault explains it: {line}"
