"""Which lines of stdout are progress."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.runner.wire import MAX_MESSAGE_CHARS, MAX_PROGRESS_BYTES, progress_of


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"progress": 0.25}', {"progress": 0.25}),
        ('{"progress": 0}', {"progress": 0.0}),
        ('{"progress": -0.0}', {"progress": 0.0}),
        ('{"progress": 1}', {"progress": 1.0}),
        ('  {"message": "half", "progress": 0.5, "other": [1]}\r\n', {"progress": 0.5, "message": "half"}),
        ('{"progress": 0.5, "message": null}', {"progress": 0.5}),
        ('{"progress": {"done": 3, "total": 4}}', {"progress": 0.75, "done": 3, "total": 4}),
        ('{"progress": {"done": 0.5, "total": 2}, "message": ""}',
         {"progress": 0.25, "done": 0.5, "total": 2, "message": ""}),
        ('{"progress": 1, "message": "a\\u0000b\\ud800c"}', {"progress": 1.0, "message": "a\ufffdb?c"}),
        (f'{{"progress": 1, "message": "{"é" * 600}"}}', {"progress": 1.0, "message": "é" * MAX_MESSAGE_CHARS}),
    ],
)  # fmt: skip
def test_progress_is_a_share_or_a_count_with_an_optional_message(line: str, found: dict[str, Any]) -> None:
    assert progress_of(line.encode()) == found


@pytest.mark.parametrize(
    "line",
    [
        '{"progress": 0.5, "status": "success", "result": 1}',
        '{"progress": 0.5, "status": "working"}',
        '{"progress": 1.01}',
        '{"progress": -0.01}',
        '{"progress": NaN}',
        '{"progress": true}',
        '{"progress": "0.5"}',
        '{"progress": {"done": 5, "total": 4}}',
        '{"progress": {"done": 0, "total": 0}}',
        '{"progress": {"done": -1, "total": 4}}',
        '{"progress": {"done": true, "total": 2}}',
        '{"progress": {"done": 1, "total": 1e400}}',
        '{"progress": {"done": 1, "total": ' + "9" * 400 + "}}",
        '{"progress": ' + "9" * 5000 + "}",
        '{"progress": 0.5, "message": 5}',
        '{"progress": 0.5',
        '{"progress": 0.5} and more',
        '{"other": "\\"progress\\": 1"}',
        '{"progress": ' + "[" * 5000,
        '{"progress": 0.5, "x": "' + "x" * MAX_PROGRESS_BYTES + '"}',
    ],
)
def test_whatever_else_is_in_a_line_it_is_log(line: str) -> None:
    assert progress_of(line.encode()) is None


def test_bytes_that_are_no_text_are_log() -> None:
    assert progress_of(b'{"progress": 1, "message": "\xff"}') is None
