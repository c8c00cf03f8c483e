"""Marks of types that may have ready tasks."""

from __future__ import annotations

from tasks_app.node.ready_types import ReadyTypes


class Interrupts:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_a_mark_ends_the_dispatchers_wait_and_is_taken_once() -> None:
    interrupts = Interrupts()
    ready_types = ReadyTypes(["echo", "resize"], interrupts)
    assert ready_types.take() == set()
    for name in ("echo", "resize", "echo"):
        ready_types.mark(name)
    assert (ready_types.take(), ready_types.take(), interrupts.count) == ({"echo", "resize"}, set(), 3)
