"""The limits that docs/should-i-use-it.md shows are those of the code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks_app.admin import table_files
from tasks_app.api import list_parameters, new_tasks, pages, repeats, waiting
from tasks_app.conf.environment import MAX_BODY_BYTES, Environment
from tasks_app.features.failures import grouping
from tasks_app.features.operations import acts
from tasks_app.features.pauses import verbs
from tasks_app.handlers import handlers_toml, keys
from tasks_app.keys import api_keys
from tasks_app.options import engine as options
from tasks_app.queue import node_models, strict_json, task_search
from tasks_app.runner import call, wire
from tasks_app.web import connections, requests
from testkit.process import PROJECT

MIB = 1024 * 1024
PAGE = PROJECT / "docs/should-i-use-it.md"


def default(name: str) -> object:
    return Environment.model_fields[name].default


def size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"


#: The first words of a row, and what else it says.
ROWS: dict[str, Sequence[object]] = {
    "`data` of a task": ["`DAEMON_MAX_BODY`, 1 MiB", size(MAX_BODY_BYTES)],
    "a result": [size(wire.MAX_REPLY_BYTES), wire.MAX_DEPTH],
    "an error": [wire.MAX_ERROR_BYTES],
    "the log of an attempt": [size(call.HEAD_BYTES + call.TAIL_BYTES)],
    "JSON that is posted": [strict_json.MAX_DEPTH, strict_json.MAX_VALUES, strict_json.MAX_DIGITS],
    "tasks in a batch": [new_tasks.MAX_TASKS, size(MAX_BODY_BYTES)],
    "tasks that wait": [default("max_queue")],
    "`delay`": [options.MAX_SECONDS],
    "`timeout` of": [default("task_timeout"), keys.MAX_SECONDS],
    "retries": [default("max_retries")],
    "`tags`": [options.MAX_TAGS, options.MAX_TAG_CHARS],
    "`metadata`": [options.MAX_METADATA_BYTES],
    "`unique_key`": [options.MAX_UNIQUE_KEY_CHARS, repeats.MAX_KEY_CHARS, default("idempotency_ttl")],
    "a wait": [waiting.MAX_WAIT_SECONDS],
    "connections": [connections.MAX_CONNECTIONS],
    "address and headers": [size(requests.MAX_HEAD_BYTES)],
    "bodies": [size(requests.BODY_BUDGET_BYTES), default("body_timeout")],
    "a page": [list_parameters.MAX_LIMIT, size(pages.MAX_PAGE_BYTES), task_search.MAX_ROWS_READ],
    "filters": [
        list_parameters.MAX_IDS,
        list_parameters.MAX_TYPES,
        options.MAX_TAGS,
        list_parameters.MAX_ERROR_CHARS,
    ],
    "types of": [api_keys.MAX_TYPES],
    "an operation": [acts.ROWS_READ],
    "a pause": [verbs.MAX_PAUSE_SECONDS, node_models.MAX_REASON_CHARS],
    "slots of": [handlers_toml.Handler.instances],
    "the name": [handlers_toml.MAX_NAME_CHARS],
    "exports": [table_files.MAX_EXPORTS],
    "failure groups": [grouping.MAX_GROUPS_PER_HANDLER],
}


def test_the_pages_limits_are_those_of_the_code() -> None:
    section = PAGE.read_text().partition("## The limits")[2].partition("\n## ")[0]
    assert default("max_body") == MIB
    for words, values in ROWS.items():
        (row,) = (line for line in section.splitlines() if line.startswith(f"| {words}"))
        for value in values:
            text = value if isinstance(value, str) else f"{value:,.0f}"
            assert re.search(rf"(?<![\w,]){re.escape(text)}(?![\w,]*\d)", row), f"{row}\nneeds {text}"
