"""Conditions for Django's statements: as an index spells them, values of a column, pairs, ids since a moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Field, Q, UUIDField
from django.db.models.expressions import RawSQL
from django.db.models.lookups import In


def spelled(condition: str) -> RawSQL:
    """A condition that stands in the statement exactly as it is given here: as a partial index spells it.

    SQLite uses a partial index only if the statement's text implies its condition, and a bound parameter does not.
    """
    return RawSQL(condition, (), output_field=BooleanField())


@Field.register_lookup
class OneOf(In):
    """As `in`, but on SQLite spelled `(a = 'x' OR a = 'y')`, on PostgreSQL `a = ANY('{x,y}'::text[])`.

    In every statement that evaluates the CHECK, SQLite builds a temporary table of an IN's values. That costs a fifth
    of a claim's time. PostgreSQL reads the CHECK from the catalog for every statement, and there each value of an IN is
    an expression of its own. The values are plain words.
    """

    lookup_name = "one_of"  # migrations use it

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        _placeholders, values = self.process_rhs(compiler, connection)
        either = " OR ".join([f"{column} = %s"] * len(values))
        return f"({either})", [item for value in values for item in (*bound, value)]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        _placeholders, values = self.process_rhs(compiler, connection)
        return f"{column} = ANY(%s::text[])", [*bound, "{" + ",".join(map(str, values)) + "}"]


@UUIDField.register_lookup
class Among(In):
    """As `in`, but on PostgreSQL spelled `id = ANY('{...}'::uuid[])`, which it parses sooner if there are thousands."""

    lookup_name = "among"

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s::uuid[])", [*bound, "{" + ",".join(map(str, self.rhs)) + "}"]


def pairs_in(first: str, second: str, pairs: Iterable[tuple[Any, Any]]) -> Q:
    """Rows whose columns `first` and `second` have the values of one of the pairs; without a pair, all rows."""
    by_first: dict[Any, list[Any]] = {}
    for value, other in pairs:
        by_first.setdefault(value, []).append(other)
    condition = Q()
    for value, others in by_first.items():
        condition |= Q(**{first: value, f"{second}__in": others})
    return condition


def first_id(moment: datetime) -> UUID:
    """The smallest id of a task created at or after a moment: ids begin with theirs (UUIDv7), none before 1970."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def created_at(identity: UUID) -> datetime | None:
    """The moment with which an id begins; None if it begins with no valid moment."""
    try:
        return datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)
    except (OverflowError, ValueError):  # after the year 9999
        return None
