"""Reads `[schedules.NAME]` of handlers.toml. Only a file that has one needs this module, which needs the API's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks_app import conf
from tasks_app.api.fields import Faults
from tasks_app.features.schedules.fields import name_fault, read
from tasks_app.features.schedules.verbs import MAX_SCHEDULES
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.strict_json import BadJSON, loads
from tasks_app.queue.submission import encode


def read_table(
    entries: Mapping[str, Any], handlers: Mapping[str, Handler | None], fault: Callable[[str, str, str], None]
) -> Mapping[str, Any]:
    """The definitions of `[schedules.NAME]` (`handlers_toml.ReadTable`)."""
    known: Any = handlers
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        if (sentence := name_fault(name)) is not None:
            fault(name, "", sentence)
        try:
            body = loads(encode(entry).encode())  # what no request may have, no file may
        except (TypeError, ValueError, BadJSON) as error:
            fault(name, "", f"has a value that JSON does not have: {error}")
            continue
        faults: Faults = []
        definition = read(body, known, conf.environment().max_body, faults)
        for key, sentence in faults:
            fault(name, key.partition("[")[0], sentence)
        if definition is not None:
            found[name] = dict(definition.given)
    if len(found) > MAX_SCHEDULES:
        fault(name, "", f"is one of {len(found):,} schedules; there may be {MAX_SCHEDULES:,}")
    return found
