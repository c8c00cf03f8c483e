"""Why the platform cannot work on a database."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault that no retry corrects.

    `check`: the number of its system check. `hint`: what to do, unless the sentence says it.
    """

    check: str
    sentence: str
    hint: str | None = None
