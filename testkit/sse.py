"""Reads Server-Sent Events as a browser does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """An event. `identity`: the last id that came, as a browser sends it when it connects again."""

    identity: str
    kind: str
    data: dict[str, Any]


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The complete events of these lines."""
    identity, kind, data = "", "", ""
    for line in lines:
        name, _, value = line.rstrip("\r\n").partition(": ")
        if name == "id":
            identity = value
        elif name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line.rstrip("\r\n") and data:
            yield Event(identity, kind, json.loads(data))
            kind = data = ""
