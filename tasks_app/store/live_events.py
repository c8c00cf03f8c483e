"""What a running attempt has written, as rows to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

#: Task id, attempt, sequence, kind, body, container.
Row = tuple[str, int, int, str, dict[str, Any], str | None]


class LiveEvents(NamedTuple):
    """Events of one attempt that follow each other: (kind, body). `first`: the sequence of the first one, from 1."""

    task_id: str
    attempt: int
    first: int
    events: Sequence[tuple[str, dict[str, Any]]]
    container: str = ""


def rows_of(batches: Sequence[LiveEvents]) -> Iterator[Row]:
    """The rows of some attempts. They are sorted, so that two transactions with the same rows do not deadlock."""
    for batch in sorted(batches, key=lambda each: (each.task_id, each.attempt)):
        for sequence, (kind, body) in enumerate(batch.events, batch.first):
            container = batch.container[:100] if sequence == 1 else None
            yield batch.task_id, batch.attempt, sequence, kind, body, container
