"""docs/configuration.md has every variable and every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks_app.conf import Environment
from tasks_app.feature import registered
from tasks_app.handlers.handlers_toml import KEYS

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
    of_features = {key for keys in registered("handler_keys") for key in keys}
    assert rows(HANDLERS).keys() == KEYS.keys() | of_features
