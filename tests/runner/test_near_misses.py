"""What is added to errors whose words hide the mistake, and to which it is not."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult, Outcome
from tasks_app.runner.endings import DeathReason, NoReply, with_stderr
from tasks_app.runner.near_misses import explained
from tasks_app.runner.wire import Failure, Success

FROM_ENVIRON = "Traceback\n  File \"<frozen os>\", line 717, in __getitem__\nKeyError: 'TOKEN'\n"
CRASH = "the handler ended with exit code 1 before it replied"


def said(outcome: Outcome, stderr: str = "", **keys: Any) -> str | None:
    """What is added to the error; None: nothing."""
    result = CallResult(Call(b"", 1.0), outcome, "c", None, 0.0, 0, stderr_tail=stderr)
    ending = explained(Handler("mail", command=("mail",), **keys), result).outcome
    assert not isinstance(ending, Success) and not isinstance(outcome, Success)
    return ending.error.removeprefix(outcome.error) or None


@pytest.mark.parametrize(("error", "stderr", "part"), [
    ("'dict' object has no attribute 'error'", "", "write `return Success({...})`"),
    ("'NoneType' object has no attribute 'error'", "", "returned nothing, and the SDK"),
    ("'str' object has no attribute 'error'", "", "write `return Success(...)`"),
    ("'name'", "", "has no 'name'; post it"),
    ('"it"', "", 'has no "it"; post it'),
    ("'API_KEY'", "", 'add env_from = ["API_KEY"], or env = { API_KEY = "..." } to [handlers.mail]'),
    ("KeyError('API_KEY')", "", 'add env_from = ["API_KEY"]'),
    ("KeyError('TOKEN')", FROM_ENVIRON, 'add env_from = ["TOKEN"]'),
    ("'DATABASE_URL'", "", 'add env = { DATABASE_URL = "..." } to'),
])  # fmt: skip
def test_an_error_that_hides_the_mistake_says_what_to_do(error: str, stderr: str, part: str) -> None:
    added = said(Failure(error), stderr)
    assert added is not None and added.startswith(" (this looks like ") and part in added


@pytest.mark.parametrize("error", [
    "KeyError('name')", "no name", "'a' is not 'b'", "'dict' object has no attribute 'name'", "", "KeyError('TOKEN')",
])  # fmt: skip
def test_other_errors_stay_as_they_are(error: str) -> None:
    assert said(Failure(error)) is None


def test_a_variable_that_the_handler_has_is_not_asked_for() -> None:
    assert "env_from" not in (said(Failure("'API_KEY'"), env={"API_KEY": "x"}) or "")
    assert said(NoReply(DeathReason.EXIT, with_stderr(CRASH, "KeyError: 'API_KEY'")), env_from=("API_KEY",)) is None


def test_a_name_alone_is_never_taken_for_a_variable_because_the_node_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADA", "x")
    assert "env_from" not in (said(Failure("'ADA'")) or ""), "keys come from data: callers could ask for names"
