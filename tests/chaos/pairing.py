"""Whether each task has its own reply, and whether tasks that were released as unread had not started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.evidence import Evidence, Story

UNREAD = "before it read its line"
#: The error of an attempt whose handler did not get its complete line, and its outcome after too many in a row.
UNBEGUN = {UNREAD: "crash", "to stdout before it had its whole line": "bad_reply"}
MAX_RELEASES_IN_A_ROW = 3


def unbegun(attempt: dict[str, Any]) -> bool:
    """Whether it was released because its handler had not started it."""
    return attempt["outcome"] == "released" and any(text in attempt["error"] for text in UNBEGUN)


def foreign(story: Story) -> Iterator[str]:
    """Results and errors of another task. Each names the task that its handler had read."""
    row = story.row
    assert row is not None
    result = row["result"]
    if row["status"] == "completed" and (not isinstance(result, dict) or result.get("task") != story.task):
        yield f"has the result of another task: {result}"
    for one in story.attempts:
        if one["outcome"] == "error" and f"(task {story.task}, attempt {one['number']})" not in one["error"]:
            yield f"has in attempt {one['number']} the error of another task or attempt: {one['error']!r}"


def released_unread(story: Story, evidence: Evidence) -> Iterator[str]:
    """Such a release spends no retry, and happens only if no handler had started.

    It happens three times in a row at most, or more often while the type does not answer on the node.
    """
    for index, one in enumerate(story.attempts):
        last = story.attempts[max(0, index - MAX_RELEASES_IN_A_ROW) : index]
        before = [each["outcome"] for each in last]
        spent = before == ["released"] * MAX_RELEASES_IN_A_ROW
        which = f"attempt {one['number']}"
        if unbegun(one):
            if spent and (UNREAD not in one["error"] or _answered_since(last[0], one, story, evidence)):
                yield f"was released as unread in {which}, after {MAX_RELEASES_IN_A_ROW} releases in a row"
            if any(event.attempt == one["number"] and not evidence.undid(event.at) for event in story.starts):
                yield f"was released as unread in {which}, which a handler had started"
        elif not spent and any(text in one["error"] and one["outcome"] == kind for text, kind in UNBEGUN.items()):
            yield f"was not started in {which}, which is a {one['outcome']} after {before}"


def _answered_since(first: dict[str, Any], one: dict[str, Any], story: Story, evidence: Evidence) -> bool:
    """Whether the type has certainly answered on the node of `one` since the end of `first`."""
    row = story.row
    assert row is not None
    return evidence.answered_between(one["node"], row["task_type"], first["ended_at"], one["started_at"])
