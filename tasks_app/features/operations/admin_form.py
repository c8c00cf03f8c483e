"""The page before an operation: what it would do, and with which options."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django import forms
from django.core import signing
from django.utils import timezone

from tasks_app.admin.text import ago, line
from tasks_app.features.operations.acts import Preview
from tasks_app.features.operations.models import Verb
from tasks_app.features.operations.plan import (
    DEFAULT_STOP_SHARE,
    MAX_CANARY,
    MAX_LIMIT,
    MAX_RATE,
    MIN_RATE,
    Plan,
    PlanRefused,
    as_json,
    of_json,
)
from tasks_app.queue.task_filter import TaskFilter

_SALT = "tasks_app.admin.operation"
#: A page that was left open longer is asked for again: what it counted has changed.
MAX_AGE_SECONDS = 24 * 3600
#: Types and reasons that are named.
MAX_NAMED = 8


class Chosen:
    """What an operator chose: signed, so that a form acts on what its page counted and on nothing else.

    `operation_id`: of the operation that the form starts: a form that is sent twice starts one.
    """

    def __init__(self, verb: str, wanted: TaskFilter, back: str, operation_id: UUID | None = None) -> None:
        self.verb, self.wanted, self.back = verb, wanted, back
        self.operation_id = operation_id or uuids.uuid7()

    def signed(self) -> str:
        """As a form's field has it."""
        return signing.dumps(
            [self.verb, as_json(self.wanted), self.back, str(self.operation_id)], salt=_SALT, compress=True
        )

    @classmethod
    def of(cls, text: str) -> Chosen | None:
        """The inverse of `signed`; None if the text was changed or is old."""
        try:
            verb, wanted, back, operation_id = signing.loads(text, salt=_SALT, max_age=MAX_AGE_SECONDS)
            return cls(verb, of_json(wanted), back, UUID(operation_id))
        except (signing.BadSignature, ValueError):
            return None


class OperationForm(forms.Form):
    """The options of an operation."""

    priority = forms.IntegerField(label="New priority", min_value=0, max_value=100)
    canary = forms.IntegerField(
        label="Canary",
        required=False,
        min_value=1,
        max_value=MAX_CANARY,
        help_text="So many tasks go first; the others only if all of these succeed.",
    )
    stop_percent = forms.IntegerField(
        label="Stop at % failed again",
        required=False,
        min_value=1,
        max_value=100,
        help_text="It stops by itself once more than this share has failed again, of at least 20. Blank: it does not.",
    )
    rate = forms.FloatField(
        label="Rate",
        required=False,
        min_value=MIN_RATE,
        max_value=MAX_RATE,
        help_text="Tasks a second. Blank: as fast as the nodes can without holding up other tasks.",
    )
    limit = forms.IntegerField(
        label="Limit", required=False, min_value=1, max_value=MAX_LIMIT, help_text="At most so many tasks. Blank: all."
    )

    def __init__(self, verb: str, data: Any = None) -> None:
        super().__init__(data, initial={"stop_percent": round(DEFAULT_STOP_SHARE * 100)})
        self._verb = verb
        for name in ("priority",) if verb != Verb.PRIORITY else ():
            del self.fields[name]
        for name in ("canary", "stop_percent") if verb != Verb.REDRIVE else ():
            del self.fields[name]

    def plan(self, wanted: TaskFilter) -> Plan | None:
        """The plan of a valid form; None if it contradicts itself: the form says why."""
        given = self.cleaned_data
        percent = given.get("stop_percent")
        plan = Plan(
            self._verb,
            wanted,
            priority=given.get("priority"),
            rate=given["rate"],
            limit=given["limit"],
            canary=given.get("canary"),
            stop_share=None if percent is None else percent / 100,
        )
        try:
            plan.check()
        except PlanRefused as refused:
            self.add_error(None, f"{str(refused)[:1].upper()}{str(refused)[1:]}.")
            return None
        return plan


def counted(found: Preview) -> list[str]:
    """What a preview found, in sentences: `412: 400 timeout, 12 crash; oldest 3 days ago`."""
    at_least = "" if found.exact else "at least "
    parts = [f"{at_least}{found.matched:,}"]
    kinds = found.by_reason if found.by_reason.total() == found.matched else found.by_status
    if found.matched:
        parts[0] += f": {_named(kinds)}"
        parts.append(f"types: {_named(found.by_type)}")
    if found.oldest is not None:
        parts.append(f"oldest {ago(found.oldest, timezone.now())}")
    sentences = ["; ".join(parts) + "."]
    if found.unfit:
        sentences.append(f"{found.unfit.total():,} will be skipped: already {_named(found.unfit)}.")
    return sentences


def _named(numbers: Any) -> str:
    named = [f"{number:,} {line(name.replace('_', ' '), 40)}" for name, number in numbers.most_common(MAX_NAMED)]
    more = len(numbers) - MAX_NAMED
    return ", ".join([*named, f"and {more:,} more"] if more > 0 else named)
