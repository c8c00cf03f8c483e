"""A condition for several pairs of values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q


def any_pair(first: str, second: str, pairs: Iterable[tuple[Any, Any]]) -> Q:
    """Rows whose columns `first` and `second` have the values of one of the pairs; without a pair, all rows."""
    by_first: dict[Any, list[Any]] = {}
    for one, other in pairs:
        by_first.setdefault(one, []).append(other)
    found = Q()
    for one, others in by_first.items():
        found |= Q(**{first: one, f"{second}__in": others})
    return found
