"""The body of `POST /api/tasks/redrive`, `/cancel` and `/delete`. Each fault names the field and what is valid."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.http import QueryDict

from tasks_app.api.errors import Invalid
from tasks_app.api.inputs import Faults, check_unknown
from tasks_app.api.json_values import kind, shown
from tasks_app.api.list_parameters import FILTERS, parse_filter
from tasks_app.models import TaskFilter
from tasks_app.operations.plan import MAX_LIMIT, MAX_RATE, MIN_RATE, Plan, PlanRefused

FIELDS = ("filter", "dry_run", "rate", "limit")
_EXAMPLE = '{"filter": {"type": "resize", "failure_reason": "timeout"}}'
#: Conditions that are integers; those that are one text; those of which a task must have all.
_INTEGERS, _TEXTS, _REPEATED = {"priority_min", "priority_max"}, {"created_after", "created_before", "error"}, {"tag"}


def parse(body: Any, verb: str, types: frozenset[str] | None, handlers: Collection[str]) -> tuple[Plan, bool]:
    """The plan of a request, and whether it is a dry run. Raises Invalid with every fault at once."""
    if not isinstance(body, dict):
        raise Invalid([("", f"the body must be a JSON object such as {_EXAMPLE}, not {kind(body)}")])
    faults: Faults = []
    check_unknown(body, FIELDS, "field", faults)
    wanted = _filter(body.get("filter"), handlers, faults)
    dry_run = body.get("dry_run")
    if dry_run is not None and not isinstance(dry_run, bool):
        faults.append(("dry_run", f"dry_run must be true or false, not {shown(dry_run)}"))
    rate = body.get("rate")
    if rate is not None and (type(rate) not in (int, float) or not MIN_RATE <= rate <= MAX_RATE):
        faults.append(
            ("rate", f"rate must be a number of tasks a second from {MIN_RATE:g} to {MAX_RATE:,.0f}, not {shown(rate)}")
        )
    limit = body.get("limit")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= MAX_LIMIT):
        faults.append(("limit", f"limit must be an integer from 1 to {MAX_LIMIT:,}, not {shown(limit)}"))
    if faults:
        raise Invalid(faults)
    plan = Plan(verb, wanted, types, rate=None if rate is None else float(rate), limit=limit)
    try:
        plan.check()
    except PlanRefused as refused:
        raise Invalid([("filter", str(refused))]) from None
    return plan, bool(dry_run)


def _filter(given: Any, handlers: Collection[str], faults: Faults) -> TaskFilter:
    known = f"the conditions are {', '.join(FILTERS)}"
    if not isinstance(given, dict):
        what = "is missing" if given is None else f"must be a JSON object, not {kind(given)}"
        faults.append(("filter", f"filter {what}; {known}"))
        return TaskFilter()
    if not given:
        faults.append(("filter", f"filter must have a condition, or it would mean every task; {known}"))
        return TaskFilter()
    query, inner = QueryDict(mutable=True), Faults()
    for name, value in given.items():
        if (texts := _texts(name, value, inner)) is not None:
            query.setlist(name, texts)
    found = parse_filter(query, handlers, inner)
    faults += [(f"filter.{name}" if name else "filter", text) for name, text in inner]
    return found


def _texts(name: str, value: Any, faults: Faults) -> list[str] | None:
    """A condition as parameters of the list have it; None if it is invalid, with a fault."""
    if name not in FILTERS:
        return [""]  # reported as unknown
    if name in _INTEGERS:
        if type(value) is int:
            return [str(value)]
        faults.append((name, f"{name} must be an integer from 0 to 100, not {shown(value)}"))
        return None
    if isinstance(value, str):
        return [value]
    texts = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    if name in _TEXTS or not texts:
        what = "a string" if name in _TEXTS else "a string, or an array of one or more strings"
        faults.append((name, f"{name} must be {what}, not {_given(value)}"))
        return None
    if name in _REPEATED:
        return list(value)
    if any("," in each for each in value):
        faults.append((name, f"a string of the array {name} has a comma, which none of its values has"))
        return None
    return [",".join(value)]


def _given(value: Any) -> str:
    """What a condition is that has no texts, or an array of them where one text is wanted."""
    if not isinstance(value, list):
        return shown(value)
    if not value:
        return "an empty array"
    wrong = next((each for each in value if not isinstance(each, str)), value[0])
    return f"an array with {shown(wrong)}"
