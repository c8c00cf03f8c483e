"""A result writer with its threads, and results of any size."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks_app.node.result_writer import MAX_SMALL_BYTES, ResultWriter
from tasks_app.queue.attempt import AttemptResult, ClaimedTask
from tasks_app.runner.reactor import Reactor
from tests.queue.moves.kit import success


class Turns(Reactor):
    """A reactor that says whether the dispatcher reads, and counts its interrupts."""

    def __init__(self) -> None:
        self.dispatcher_reads, self.interrupts = False, 0

    def in_turn(self) -> bool:
        return self.dispatcher_reads

    def interrupt(self) -> None:
        self.interrupts += 1


@contextmanager
def threads(writer: ResultWriter) -> Iterator[None]:
    """Within it the writer's threads run."""
    started = [threading.Thread(target=run, name=name) for name, run in writer.threads().items()]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        writer.stop()
        for thread in started:
            thread.join(20)


def sized(task: ClaimedTask, text: str, **fields: Any) -> AttemptResult:
    """A success with a result of this JSON text."""
    return success(task, text, result_size=len(text.encode()), **fields)


def large(task: ClaimedTask, size: int = 2 * MAX_SMALL_BYTES) -> AttemptResult:
    """A success with a result that is written apart from small ones."""
    return sized(task, json.dumps("x" * size))
