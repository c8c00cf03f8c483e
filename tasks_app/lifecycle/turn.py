"""Turns: a work that one node at a time should do, because two would only be in each other's way."""

from __future__ import annotations

from django.db import IntegrityError
from django.db.models import Q

from tasks_app.models import Turn
from tasks_app.store import clock
from tasks_app.store.transactions import writing


def take_turn(name: str, node: str, seconds: float) -> bool:
    """Take or keep the turn for so many seconds; False if another node has it.

    Nothing may depend on it: a node that was stopped meanwhile may believe that the turn is still its own.
    """
    now = clock.now()
    # The last two: the clock has started anew, or was set back.
    over = Q(until__lt=now) | ~Q(clock=clock.clock_id()) | Q(until__gt=now + 2 * seconds)
    free = Turn.objects.filter(Q(node=node) | over, name=name)
    until = {"until": now + seconds, "clock": clock.clock_id()}
    if free.exists():  # a read, which takes no write lock
        with writing():
            return free.update(node=node, **until) == 1
    if Turn.objects.filter(name=name).exists():
        return False
    try:
        with writing():
            Turn.objects.create(name=name, node=node, **until)
    except IntegrityError:
        return False
    return True
