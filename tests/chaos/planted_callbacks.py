"""One violation of each promise about callbacks, added to `PLANTED`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.correct_callbacks import received
from tests.chaos.correct_run import FINE, TRIED
from tests.chaos.evidence import Evidence
from tests.chaos.planted import breaks
from tests.chaos.planted_schedules import PLANTED

__all__ = ["PLANTED"]


def change(e: Evidence, identity: str, **fields: Any) -> None:
    """Change the last request with this id."""
    index = max(n for n, one in enumerate(e.received) if one.id == identity)
    e.received[index] = replace(e.received[index], **fields)


@breaks("callbacks", "fine ended 1 times, and 0 of these were told")
def tell_nobody(e: Evidence) -> None:
    e.received[:] = [one for one in e.received if one.id != "whole"]


@breaks("callbacks", "lives ended 2 times, and 1 of these were told")
def tell_of_the_last_end_alone(e: Evidence) -> None:
    e.received[:] = [one for one in e.received if one.id != "first"]


@breaks("callbacks", "fine ended 1 times, and was told by 2 callbacks")
def tell_twice(e: Evidence) -> None:
    e.received.append(received(e, "again", FINE, 13.0))


@breaks("callbacks", "lives was not told as it ended")
def tell_of_another_end(e: Evidence) -> None:
    change(e, "second", data=e.received[-1].data | {"attempts": 1})


@breaks("callbacks", "first has 2 bodies")
def change_a_body(e: Evidence) -> None:
    change(e, "first", digest="another")


@breaks("callbacks", "whole is not accepted: No matching signature found")
def sign_wrongly(e: Evidence) -> None:
    change(e, "whole", fault="No matching signature found")


@breaks("callbacks", "whole tells at 11.900 of an end at 12.000")
def tell_too_early(e: Evidence) -> None:
    change(e, "whole", at=11.9)


@breaks("callbacks", "tried is told of, and asked for nothing")
def tell_of_a_task_that_did_not_ask(e: Evidence) -> None:
    e.received.append(received(e, "unasked", TRIED, 14.0))


@breaks("callbacks", "unknown is told of and is not in the database")
def tell_of_an_unknown_task(e: Evidence) -> None:
    e.received.append(replace(e.received[0], id="unknown", data=e.received[0].data | {"id": "unknown"}))


@breaks("callbacks", "lives ended 2 times, and 1 of these were told")
def give_up(e: Evidence) -> None:
    change(e, "second", answered=500)
