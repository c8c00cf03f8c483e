"""The options of a task that name who pays for it, in a column, and who approves that, in a table."""

from __future__ import annotations

from typing import Any

from django.db import models

from tasks_app.field import Faults, Field, refuse, shown
from tasks_app.options.option import Line, Option


def _center(name: str, value: Any, faults: Faults) -> Any:
    if not isinstance(value, str) or not value.isalnum():
        refuse(faults, name, "letters and digits", shown(value))
    return value


OPTIONS = (
    Option(
        name="cost_center",
        field=Field({"type": "string", "minLength": 1, "description": "Who pays for it."}, _center),
        column="cost_center",
        adds=models.TextField(null=True),
        answer={"type": "string"},
        line=Line("Cost center"),
        brief="Who pays for it.",
        word="NAME",
    ),
    Option(
        name="approver",
        field=Field({"type": "string", "minLength": 1, "description": "Who approves the cost."}, _center),
        table="tasks_app.features.costs.approvers.approvers",
        answer={"type": "string"},
        brief="Who approves the cost.",
        word="NAME",
    ),
)
