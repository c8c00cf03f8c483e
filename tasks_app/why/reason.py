"""A reason: a word for programs, a sentence for people, and the values of the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Value = str | int | float | datetime | list[str] | None


class Word(StrEnum):
    """What may keep a task from running, or what became of it."""

    SCHEDULED = "scheduled"
    RETRY = "retry"
    PAUSED = "paused"
    NO_NODE = "no_node"
    CANNOT_START = "cannot_start"
    STARTING = "starting"
    CAP = "cap"
    BEHIND = "behind"
    READY = "ready"
    RUNNING = "running"
    LOST = "lost"
    FINAL = "final"


@dataclass(frozen=True)
class Reason:
    """`sentence` begins with a small letter and has no full stop. `values`: by the names that the API gives them."""

    reason: Word
    sentence: str
    values: Mapping[str, Value] = field(default_factory=dict)


def as_text(reasons: Sequence[Reason]) -> str:
    """All reasons in one sentence."""
    return "; ".join(reason.sentence for reason in reasons)
