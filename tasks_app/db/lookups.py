"""one_of: a lookup for CHECKs that allow a column a few values."""

from __future__ import annotations

from typing import Any

from django.db.models import Field
from django.db.models.lookups import In


@Field.register_lookup
class OneOf(In):
    """As `in`, but on SQLite spelled `(a = 'x' OR a = 'y')`.

    In every statement that evaluates the CHECK, SQLite builds a temporary table of an IN's values. That costs a fifth
    of a claim's time.
    """

    lookup_name = "one_of"  # migrations use it

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        _placeholders, values = self.process_rhs(compiler, connection)
        either = " OR ".join([f"{column} = %s"] * len(values))
        return f"({either})", [each for value in values for each in (*bound, value)]
