"""docs/configuration.md has every variable and every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks_app.conf import Environment
from tasks_app.conf.reading import IGNORED_VARIABLES
from tasks_app.handlers.handlers_toml import KEYS, Handler
from tasks_app.handlers.keys import RETRY_ON, SELECTIONS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
ENVIRONMENT, HANDLERS = TEXT.split("## handlers.toml")


def rows(text: str) -> dict[str, str]:
    return {found[1]: line for line in text.splitlines() if (found := re.match(r"\| `(\w+)` \|", line))}


def variable(field: Any) -> str:
    return str(field.alias)


def test_each_variable_has_a_row_and_each_row_is_a_variable() -> None:
    assert rows(ENVIRONMENT).keys() == {variable(field) for field in Environment.model_fields.values()}


@pytest.mark.parametrize("field", Environment.model_fields.values(), ids=variable)
def test_a_variables_row_says_its_default(field: Any) -> None:
    if field.default in (None, ""):
        return
    default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default).removesuffix(".0")
    assert f"| `{default}` |" in rows(ENVIRONMENT)[variable(field)]


def test_each_key_of_a_handler_has_a_row_and_each_row_is_a_key() -> None:
    assert rows(HANDLERS).keys() == KEYS.keys()


def test_the_keys_for_containers_stand_apart() -> None:
    both, containers = HANDLERS.split("Only for containers")
    # A handler with an image runs in containers.
    assert rows(containers).keys() == {name for name, key in KEYS.items() if key.get("needs_image")}
    assert rows(both).keys() == {name for name, key in KEYS.items() if not key.get("needs_image")}


def test_the_words_that_a_key_takes_are_there() -> None:
    for word in (*SELECTIONS, *RETRY_ON):
        assert f'`"{word}"`' in HANDLERS
    assert f"| `{Handler.instances}` |" in rows(HANDLERS)["instances"]


def test_the_variables_of_the_earlier_daemon_are_named() -> None:
    for name in IGNORED_VARIABLES:
        assert f"`{name}`" in ENVIRONMENT
