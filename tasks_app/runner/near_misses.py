"""What is added to the error of a handler in Python whose words hide the mistake: of the SDK, or of a variable."""

from __future__ import annotations

import re
from dataclasses import replace

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.keys import OUR_SECRETS
from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import DeathReason, NoReply
from tasks_app.runner.wire import Failure

#: What the SDK makes of a handler that returned something else than its Success or Error.
_NO_RESULT = re.compile(r"'(\w{1,100})' object has no attribute 'error'")
#: A KeyError: as a line of stderr, as its `repr`, and as its `str`, which the SDK replies.
_KEY_ERROR = re.compile(r"(KeyError: |KeyError\()?(['\"])([^'\"\n]{1,100})\2\)?")
#: Names that only variables of the environment have, as a rule. Whether the node has such a variable is not said: names
#: may come from data.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_FROM_ENVIRON = re.compile(r'File "(?:<frozen os>|[^"\n]{0,200}/os\.py)", line \d+, in __getitem__')


def explained(handler: Handler, result: CallResult) -> CallResult:
    """The result of a call; if it failed by one of these mistakes, with what to do at the end of its error."""
    outcome = result.outcome
    if isinstance(outcome, Failure):
        why = _of_reply(handler, outcome.error, result.stderr_tail)
    elif isinstance(outcome, NoReply) and outcome.death is DeathReason.EXIT:
        why = lacks_variable(handler, outcome.error.rpartition(" | stderr: ")[2], result.stderr_tail)
    else:
        return result
    return result._replace(outcome=replace(outcome, error=f"{outcome.error} ({why})")) if why else result


def lacks_variable(handler: Handler, line: str, stderr: str = "") -> str | None:
    """What to do if a handler failed with this line because its environment lacks a variable; None otherwise."""
    found = _KEY_ERROR.fullmatch(line)
    if found is None or found[3] in handler.env or found[3] in handler.env_from:
        return None
    name = found[3]
    if not _VARIABLE.fullmatch(name) and not _FROM_ENVIRON.search(stderr):
        return None
    own = f'env = {{ {name} = "..." }}'
    add = own if name in OUR_SECRETS else f'env_from = ["{name}"], or {own}'
    return (
        "this looks like a variable of the environment: a handler has only those that `env` and `env_from` name; "
        f"add {add} to [handlers.{handler.name}]"
    )


def _of_reply(handler: Handler, error: str, stderr: str) -> str | None:
    if found := _NO_RESULT.fullmatch(error):
        returned = "nothing" if found[1] == "NoneType" else f"a value of the type {found[1]}"
        write = {"dict": "Success({...})", "NoneType": "Success(None)"}.get(found[1], "Success(...)")
        return (
            f"this looks like a handler that returned {returned}, and the SDK takes Success or Error alone: "
            f"write `return {write}`"
        )
    if why := lacks_variable(handler, error, stderr):
        return why
    found = _KEY_ERROR.fullmatch(error)
    if found is None or found[1]:
        return None
    return (
        f"this looks like a KeyError of Python, of which the SDK replies the key alone: a dict, perhaps the task's "
        f"data, has no {found[2]}{found[3]}{found[2]}; post it, or catch the error and reply what is wrong"
    )
