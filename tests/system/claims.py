"""What nodes claimed and when, and which pairs of tasks they took in the wrong order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Accepted:
    """A task that was accepted. `ready`: when it was certainly committed, on the machine's monotonic clock."""

    task: str
    task_type: str
    priority: int
    ready: float


@dataclass(frozen=True)
class Claim:
    """The claim that a task was in. `types`: those of which the node had a free slot then."""

    node: str
    types: frozenset[str]
    began: float
    ended: float


@dataclass(frozen=True)
class Pairs:
    """`inverted`: (lower, higher). `decided`: pairs of which both waited when the first of them was claimed."""

    inverted: list[tuple[str, str]]
    decided: int


def read(path: Path) -> dict[str, Claim]:
    """The first claim of each task."""
    found: dict[str, Claim] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        claim = Claim(entry["node"], frozenset(entry["types"]), entry["began"], entry["ended"])
        for task in entry["tasks"]:
            found.setdefault(task, claim)
    return found


def shares(claims: Iterable[Claim]) -> Counter[str]:
    """How many tasks each node claimed."""
    return Counter(claim.node for claim in claims)


def pairs(accepted: Iterable[Accepted], claims: dict[str, Claim], rank: Callable[[Accepted], object]) -> Pairs:
    """A pair is inverted if the lower task's claim began after the higher one was committed as ready, and ended before
    the higher one's claim began, and its node had a slot free for the higher one. `rank`: smaller goes first.
    """
    ordered = sorted(accepted, key=rank)  # type: ignore[arg-type]
    inverted, decided = [], 0
    for index, higher in enumerate(ordered):
        first = claims[higher.task]
        for lower in ordered[index + 1 :]:
            other = claims[lower.task]
            decided += max(higher.ready, lower.ready) < min(first.began, other.began)
            if other.began > higher.ready and other.ended < first.began and higher.task_type in other.types:
                inverted.append((lower.task, higher.task))
    return Pairs(inverted, decided)
