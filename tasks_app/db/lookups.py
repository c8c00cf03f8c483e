"""one_of: a lookup for CHECKs that allow a column a few values."""

from __future__ import annotations

from typing import Any

from django.db.models import Field
from django.db.models.lookups import In


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
        return f"({either})", [each for value in values for each in (*bound, value)]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        _placeholders, values = self.process_rhs(compiler, connection)
        return f"{column} = ANY(%s::text[])", [*bound, "{" + ",".join(map(str, values)) + "}"]
