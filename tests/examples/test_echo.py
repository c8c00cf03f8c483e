"""echo, urgent, normal, background."""

from __future__ import annotations

import pytest

from tests.examples.conftest import SHIPPED, Ask


def test_handlers_toml_has_every_type_of_the_owners_curl_lines():
    assert set(SHIPPED) == {"echo", "prime", "resize", "urgent", "normal", "background"}


@pytest.mark.parametrize(
    "data", [{}, {"n": 1}, {"ü": ["\u2028", None, 1.5, {"deep": [[]]}]}, {"long": "x" * 2_000_000}]
)
def test_echo_answers_with_its_data(ask: Ask, data: dict[str, object]):
    assert ask("echo", data) == {"status": "success", "result": data}


@pytest.mark.parametrize("task_type", ["urgent", "normal", "background"])
def test_the_priority_handlers_name_their_task_type(ask: Ask, task_type: str):
    assert ask(task_type, {"a": 1}) == {"status": "success", "result": {"handled_by": task_type, "data": {"a": 1}}}
