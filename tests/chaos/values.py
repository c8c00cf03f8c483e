"""Large values: tasks whose data or result is large once it is stored, and a short form of them for the evidence.

A value's large part is its `fill`: a text, or numbers with exponents, each of which is stored with all its digits.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.evidence import Evidence, Story

#: Bytes that a task's data and a handler's result may have once they are stored.
DATA_LIMIT, RESULT_LIMIT = 1 << 20, 10 << 20
NUMBER = 1e308
#: What one more of these numbers in a list adds to the stored size: its digits and a comma.
NUMBER_BYTES = 310
#: More than a value, or the line of a reply, has beside its fill.
REST_BYTES = 400
#: Texts of results: most of a megabyte, one near the limit.
TEXT_BYTES, MOST_TEXT_BYTES = 1_000_000, RESULT_LIMIT - REST_BYTES
#: Large and small tasks of a batch.
LARGE_TASKS, SMALL_TASKS = 6, 8

Bodies = list[tuple[str, dict[str, Any]]]


def side_by_side(chance: random.Random) -> Bodies:
    """Tasks with large results, and small ones between them."""
    large: Bodies = [("slow", {"do": "large", "bytes": TEXT_BYTES}) for _ in range(LARGE_TASKS)]
    large.append(("slow", {"do": "large", "bytes": MOST_TEXT_BYTES}))
    return chance.sample(found := large + _small(), len(found))


def exponents(chance: random.Random) -> Bodies:
    """Tasks whose data and results are near their limits by exponents, results beyond it, and small ones between."""
    large: Bodies = [("quick", {"do": "quick", "fill": [NUMBER] * within(DATA_LIMIT)}) for _ in range(LARGE_TASKS)]
    large.append(("slow", {"do": "digits", "count": within(RESULT_LIMIT)}))
    large += [("rough", {"do": "digits", "count": beyond(RESULT_LIMIT), "until": 2}) for _ in range(2)]
    return chance.sample(found := large + _small(), len(found))


def too_large() -> dict[str, Any]:
    """Data beyond its limit by exponents alone: its text is short."""
    return {"do": "quick", "fill": [NUMBER] * beyond(DATA_LIMIT)}


def within(limit: int) -> int:
    """How many numbers are just within a limit, with the rest of their value."""
    return (limit - REST_BYTES) // NUMBER_BYTES


def beyond(limit: int) -> int:
    """How many numbers are just beyond it by themselves."""
    return limit // NUMBER_BYTES + 1


def _small() -> Bodies:
    return [("quick", {"do": "quick"}) for _ in range(SMALL_TASKS)]


def short(value: Any) -> Any:
    """The value with a short text in place of its fill, alike from the client, from the API and from the rows."""
    if not isinstance(value, dict) or "fill" not in value:
        return value
    return value | {"fill": _said(value["fill"])}


def _said(fill: str | list[float]) -> str:
    if isinstance(fill, list):  # PostgreSQL gives such a number as a whole one
        return f"{len(fill)} numbers, {' '.join(sorted({repr(float(each)) for each in fill}))}"
    return f"{len(fill)} characters, {zlib.crc32(fill.encode()):08x}"


def expected(task: str, data: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """The short form of what a handler adds to the result of this attempt because of `do`."""
    if attempt >= data.get("until", attempt + 1):
        return {}
    if data["do"] == "large":
        return {"fill": _said((task * (data["bytes"] // len(task) + 1))[: data["bytes"]])}
    return {"fill": _said([NUMBER] * data["count"])} if data["do"] == "digits" else {}


def size_faults(story: Story, evidence: Evidence) -> Iterator[str]:
    """What is too large is not stored."""
    row = story.row
    assert row is not None
    data = row["task_data"]
    if evidence.post_of(row).get("too_large"):
        yield "was accepted, and its data is larger than the limit once it is stored"
    count = data.get("count", 0) if row["attempts"] < data.get("until", row["attempts"] + 1) else 0
    if row["status"] == "completed" and count >= beyond(RESULT_LIMIT):
        yield f"is completed with {count} numbers, which are larger than the limit once they are stored"
