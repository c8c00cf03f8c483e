"""The clients of the chaos find responses that the API does not document."""

from __future__ import annotations

import pytest

from tests.chaos.call import fault_in


@pytest.mark.parametrize(("status", "kind", "text", "says"), [
    (200, "application/json", '{"task_id": "1"}', None), (204, "", "", None),
    (404, "application/json", '{"error": "Task not found"}', None),
    (503, "application/json", '{"error": "..."}', None),
    (500, "application/json", '{"error": "internal error"}', "an unexpected status"), (204, "", "x", "with a body"),
    (503, "text/html", "<html>", "no JSON"), (200, "text/plain", "{}", "another content type"),
    (404, "application/json", "{}", "no `error`"), (503, "", "", "no JSON"),
    (409, "application/json", '{"error": "..."}', "an unexpected status"),
])  # fmt: skip
def test_an_unexpected_response_is_found(status: int, kind: str, text: str, says: str | None) -> None:
    found = fault_in(status, kind, text)
    assert found is None if says is None else says in str(found)


def test_a_status_is_expected_of_some_calls_only() -> None:
    assert fault_in(409, "application/json", '{"error": "..."}', also=409) is None
    assert fault_in(409, "application/json", "{}", also=409) is not None
