"""Whether each claim took the best of the ready tasks of its type, as far as the evidence decides it.

An attempt's row says when its task became ready and when it was claimed. Transactions began before these moments and
ended after them, so of two claims of several nodes, or of one batch, the rows alone do not tell which came first.
`Horizon` bounds beginnings and ends. A task was ready throughout the claim of another one if

- the transaction that made it ready (post, retry, release, rescue, redrive) had ended before the claim's began, and
- the transaction that claimed it began after the other one was claimed; until then it was not locked either.

The claim then saw it and could lock it. If it goes before the claimed task in the selection's order, the order was
broken. All that is not decided by this is left out, as are

- attempts whose wait is unknown, because the clock was set back;
- claims during a crash of the database or in the second before: another claim may have been undone with it;
- waiting tasks whose deletion or cancel a client has requested: it may have locked them;
- tasks of the type with limits, which may be held: `limit_checks` compares these;
- positions before a task's last redrive, which gave it a new one. Its priority is compared.

Of a crowd (tasks with one `run_at`, which a client posted one after another) the row's position counts against other
tasks alone: among themselves they go in the order of their acceptance, which the journal tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import Evidence, Story
from tests.chaos.limits import LIMITED
from tests.chaos.lives import Lives


@dataclass(frozen=True)
class Claim:
    """One attempt's task was ready from `ready` to `at`. `position`: None if it is not known.

    `crowd`: that of the task, by number; `accepted`: the task's own number in the order of acceptance.
    """

    task: str
    number: int
    priority: int
    position: int | None
    ready: float
    at: float
    crowd: int | None = None
    accepted: int | None = None

    def of_crowd(self, other: Claim) -> bool:
        """Whether both are of one crowd."""
        return self.crowd is not None and self.crowd == other.crowd


@dataclass(frozen=True)
class Compared:
    """A claim and the tasks of its type that were ready throughout it and can be compared with it.

    `missed`: those that go before it; there should be none.
    """

    claim: Claim
    waiting: list[Claim]
    missed: list[Claim]


def compared(evidence: Evidence) -> Iterator[Compared]:
    """Every claim that can be compared with at least one waiting task."""
    by_type: dict[str, list[Claim]] = defaultdict(list)
    of_crowds = crowds(evidence)
    for story in evidence.stories.values():
        if story.row is not None and story.row["task_type"] != LIMITED:
            crowd = of_crowds.get(story.task, (None, None))
            by_type[story.row["task_type"]] += _claims(story, story.row, evidence.lives[story.task], crowd)
    for claims in by_type.values():
        yield from _of_type(claims, evidence)


def goes_before(selection: str, one: Claim, other: Claim) -> bool | None:
    """Whether `one` goes before `other`; None if that is not known."""
    if selection == "priority" and one.priority != other.priority:
        return one.priority > other.priority
    first, second = one.position, other.position
    if one.of_crowd(other):
        first, second = one.accepted, other.accepted
    if first is None or second is None:
        return None
    return first > second if selection == "lifo" else first < second


def crowds(evidence: Evidence) -> dict[str, tuple[int, int]]:
    """The crowd of each task that surely was accepted before its `run_at`, and its number: a client counts its posts.

    A later one is ready at once, before the others. One without an answer may be accepted at any time.
    """
    found = {}
    for line in evidence.lines("accepted"):
        post = evidence.posts.get(line["n"], {})
        if "crowd" in post and line["at"] < post["run_at"]:
            found[line["task"]] = (post["crowd"], line["n"])
    return found


def _claims(
    story: Story, row: dict[str, Any], lives: Lives, crowd: tuple[int | None, int | None]
) -> Iterator[Claim]:  # fmt: skip
    redrives = lives.redrives
    redriven = lives.ends[redrives - 1][0] if redrives else 0
    for one in story.attempts:
        if one["wait_seconds"] is not None:
            number, at = one["number"], one["started_at"]
            position = row["position"] if number > redriven else None
            known = (None, None) if redrives else crowd
            yield Claim(story.task, number, row["priority"], position, at - one["wait_seconds"], at, *known)


def _of_type(claims: list[Claim], evidence: Evidence) -> Iterator[Compared]:
    horizon = evidence.horizon
    may_be_locked = {line["task"] for what in ("delete", "cancel") for line in evidence.lines(what)}
    waits = sorted(
        (
            (horizon.ended(claim.ready), horizon.began(claim.at), claim)
            for claim in claims
            if claim.task not in may_be_locked
        ),
        key=lambda wait: wait[0],
        reverse=True,
    )
    waiting: list[tuple[float, float, Claim]] = []
    for began, claim in sorted(((horizon.began(claim.at), claim) for claim in claims), key=lambda pair: pair[0]):
        while waits and waits[-1][0] <= began:
            waiting.append(waits.pop())
        waiting = [wait for wait in waiting if wait[1] > began]
        if evidence.undid(claim.at):
            continue
        beside = [other for _, until, other in waiting if until > claim.at and other.task != claim.task]
        before = [(other, goes_before(evidence.selection, other, claim)) for other in beside]
        if known := [other for other, first in before if first is not None]:
            yield Compared(claim, known, [other for other, first in before if first])
