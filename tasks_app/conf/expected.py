"""The error text for a variable with a wrong type or value."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo


def expected(field: FieldInfo) -> str:
    """What a variable must be, as in "must be a whole number from 1 to 65535"."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        words = [str(word) for word in get_args(annotation)]
        return f"must be {', '.join(words[:-1])} or {words[-1]}"
    if annotation is bool:
        return "must be true or false"
    bounds = {name: getattr(limit, name) for limit in field.metadata for name in _BOUNDS if hasattr(limit, name)}
    if annotation in (int, float):
        kind = "a whole number" if annotation is int else "a number"
        return " ".join(["must be", kind, *_range(bounds)])
    if "min_length" in bounds:
        return f"must have at least {bounds['min_length']} characters"
    return "must be text"


_BOUNDS = ("gt", "ge", "lt", "le", "min_length")


def _range(bounds: dict[str, Any]) -> list[str]:
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return [f"from {low} to {high}"]
    if low is not None:
        return [f"of at least {low}"]
    over = [f"over {bounds['gt']}"] if "gt" in bounds else []
    return [f"{over[0]}, to {high}"] if over and high is not None else over
