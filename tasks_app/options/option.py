"""An option of a task: what may be asked for beside its type, its data and its priority. Each is declared once.

The engine's are in `engine.py`, a feature's in an `options.py` of its folder. From a declaration come: how a request's
value is read and refused, and its schema in the OpenAPI document; the column of a new row, on each database; which
schedules take it; the fields of answers, of the admin's page and JSON, and of an export; its row in docs/api.md; and in
the client the keyword of `submit`, the field of a task, and the option of `tdctl submit` (client/generate_options.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from django.db import models
from django.db.models.expressions import Combinable

from tasks_app.field import Faults, Field
from tasks_app.handlers.handlers_toml import Handler


@dataclass(frozen=True)
class Line:
    """Its line among the facts of a task's page in the admin.

    `below`: the name of the engine's fact that it follows; blank: it follows all. `text`: makes the text of a value;
    None: a moment with how long ago it is, or the value itself. `search`: the word of the search that finds tasks by
    this value: each value is a link; blank: there is none.
    """

    name: str
    below: str = ""
    text: Callable[[Any], str] | None = None
    search: str = ""


class OptionTable(Protocol):
    """A table of a feature that stores what tasks ask for by an option."""

    def store(self, values: Mapping[UUID, Any]) -> None:
        """Store the values of new tasks, by their ids. Called in the transaction that stores the tasks, after that;
        not without such a task. What it raises undoes the transaction, with the tasks of other callers in it."""

    def value(self) -> Combinable:
        """In a query of tasks (`OuterRef("pk")`): what a task has asked for; null: nothing."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """`name`: in requests and answers."""

    name: str
    #: How the value in a request is read; None: no caller gives it. A function gets the handler of the task, or None
    #: for what is valid with all of them.
    field: Field | Callable[[Handler | None], Field] | None = None
    #: Called in its turn for each task that asks for any option, whether for this one or not. It gets the options read
    #: so far, the id of the API key whose own secret signs for the caller (`Caller.signer`), and the faults, to which
    #: it adds its own. It may add options that no caller gives. It queries nothing.
    check: Callable[[dict[str, Any], int | None, Faults], None] | None = None
    #: Makes the value of a task that does not ask for it, from its handler and its data; None: it asks for nothing. It
    #: adds a fault if a value would be refused.
    derive: Callable[[Handler, Mapping[str, Any], Faults], Any] | None = None
    #: A value that asks for nothing, beside null.
    nothing: Any = None
    #: The column of a task's row that stores it. Blank: a table does, or the engine stores what it makes of it.
    column: str = ""
    #: The column itself, of a feature that adds one to the table of tasks: it is null where nothing was asked for.
    adds: models.Field[Any, Any] | None = None
    #: Instead of a column, or beside it: the dotted path of an `OptionTable`. The admin and exports show columns alone;
    #: a feature with a table shows it on its panels.
    table: str = ""
    #: Whether a task that asks for it is stored held and followed; one that waits for its time is followed only.
    holds: bool = False
    #: Whether a schedule may give it to its tasks.
    lasting: bool = True
    #: Whether it is a payload: only SEE_PAYLOADS shows it, and an export has it only if it is asked for.
    payload: bool = False
    #: Whether it may be large: an answer with it ends earlier, and a list of the admin does not read it. Its column has
    #: its name.
    large: bool = False
    #: Its schema in a task object, which has it if the task has; None: no task object has it.
    answer: Mapping[str, Any] | None = None
    #: Whether the admin's JSON of a task has its column, and an export.
    in_json: bool = True
    exported: bool = True
    line: Line | None = None
    #: Of a request in the OpenAPI document: what the example shows, and its body.
    example: tuple[str, Mapping[str, Any]] | None = None
    #: In a sentence, for `tdctl submit`; and the word of its value there: SECONDS, N, NUMBER and JSON stand for types.
    brief: str = ""
    word: str = ""

    def reads(self, handler: Handler | None = None) -> Field:
        """Its field, for a task with this handler."""
        assert self.field is not None
        return self.field if isinstance(self.field, Field) else self.field(handler)
