"""The page before an operation: what it would do, and with which options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django import forms
from django.core import signing
from django.http import HttpRequest
from django.utils import timezone

from tasks_app.admin.text import ago, line
from tasks_app.features.operations.acts import ROWS_READ, Preview, at_least
from tasks_app.features.operations.plan import DEFAULT_STOP_SHARE, OPTIONS, Option, Plan, as_json, of_json
from tasks_app.queue.task_filter import TaskFilter

_SALT = "tasks_app.admin.operation"
#: A page that was left open longer is asked for again: what it counted has changed.
MAX_AGE_SECONDS = 24 * 3600
#: Types and reasons that are named.
MAX_NAMED = 8


#: Characters of a choice in an address. A longer one (many tasks, selected one by one) is kept in the session.
MAX_ADDRESS = 4_000
_SESSION = "operation"


@dataclass(frozen=True)
class Chosen:
    """What an operator chose: signed, so that a form acts on what its page counted and on nothing else.

    `back`: the address to go back to. `how`: how the tasks were chosen, in a sentence. `operation_id`: of the operation
    that the form starts: a form that is sent twice starts one.
    """

    verb: str
    wanted: TaskFilter
    back: str
    how: str = ""
    operation_id: UUID = field(default_factory=uuids.uuid7)

    def kept(self, request: HttpRequest) -> str:
        """As an address and a form have it: a text that nobody else can make."""
        values = [self.verb, as_json(self.wanted), self.back, self.how, str(self.operation_id)]
        if len(text := signing.dumps(values, salt=_SALT, compress=True)) <= MAX_ADDRESS:
            return text
        request.session[_SESSION] = {str(self.operation_id): text}
        return str(self.operation_id)

    @classmethod
    def of(cls, request: HttpRequest, text: str) -> Chosen | None:
        """The inverse of `kept`; None if the text was changed or is old."""
        try:
            text = request.session.get(_SESSION, {}).get(text, text)
            verb, wanted, back, how, operation_id = signing.loads(text, salt=_SALT, max_age=MAX_AGE_SECONDS)
            return cls(verb, of_json(wanted), back, how, UUID(operation_id))
        except (signing.BadSignature, ValueError):
            return None


class PercentField(forms.FloatField):
    """A share, shown in percent."""

    def prepare_value(self, value: Any) -> Any:
        return f"{value * 100:g}" if isinstance(value, float) else value

    def clean(self, value: Any) -> Any:
        percent = super().clean(value)
        return None if percent is None else percent / 100


#: Of the canary that the form proposes for a failure group: a tenth of its tasks, at most so many.
MAX_PROPOSED_CANARY = 10


class OperationForm(forms.Form):
    """The options of an operation. `matched`: how many tasks there are."""

    def __init__(self, chosen: Chosen, data: Any = None, matched: int = 0) -> None:
        initial: dict[str, Any] = {"stop_share": DEFAULT_STOP_SHARE}
        if chosen.wanted.group is not None and matched > 1:
            initial["canary"] = min(max(matched // 10, 1), MAX_PROPOSED_CANARY)
        super().__init__(data, initial=initial)
        self._chosen = chosen
        for name, option in OPTIONS.items():
            if option.belongs_to(chosen.verb):
                self.fields[name] = _field(name, option)

    def plan(self) -> Plan | None:
        """The plan of the form; None if it has faults, which the form shows."""
        if not self.is_valid():
            return None
        plan = Plan.of(self._chosen.verb, self._chosen.wanted, self.cleaned_data)
        for name, text in plan.faults():
            self.add_error(name if name in self.fields else None, f"{text[:1].upper()}{text[1:]}.")
        return plan if self.is_valid() else None


def _field(name: str, option: Option) -> forms.Field:
    help = f"{option.help} Blank: {option.absent}." if option.absent else option.help
    kind: Any = forms.IntegerField if option.whole else forms.FloatField
    low, high = option.low, option.high
    if name == "stop_share":
        kind, low, high = PercentField, 1, 100
    made: forms.Field = kind(
        label=option.label, required=not option.absent, min_value=low, max_value=high, help_text=help
    )
    return made


def counted(found: Preview) -> list[str]:
    """What a preview found, in sentences: `412: 400 timeout, 12 crash; oldest 3 days ago`."""
    parts = [f"{at_least(found.exact)}{found.matched:,}"]
    kinds = found.by_reason if found.by_reason.total() == found.matched else found.by_status
    if found.matched:
        parts[0] += f": {_named(kinds)}"
        parts.append(f"types: {_named(found.by_type)}")
    if found.oldest is not None:
        parts.append(f"oldest {ago(found.oldest, timezone.now())}")
    sentences = ["; ".join(parts) + "."]
    if not found.exact:
        sentences.append(f"Counting ended after {ROWS_READ:,} tasks: it goes on to all that match.")
    if found.unfit:
        sentences.append(f"{found.unfit.total():,} will be skipped: already {_named(found.unfit)}.")
    return sentences


def _named(numbers: Any) -> str:
    named = [f"{number:,} {line(name.replace('_', ' '), 40)}" for name, number in numbers.most_common(MAX_NAMED)]
    more = len(numbers) - MAX_NAMED
    return ", ".join([*named, f"and {more:,} more"] if more > 0 else named)
