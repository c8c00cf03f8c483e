"""one_of: the lookup for a CHECK that allows a column a few words."""

from __future__ import annotations

from typing import Any

from django.db.models import Field
from django.db.models.lookups import In


@Field.register_lookup
class OneOf(In):
    """As `in`, and on SQLite spelled `(a = 'x' OR a = 'y')`.

    SQLite puts the words of an IN into a table of their own, anew in every statement that has to check them: a fifth of
    a claim of 8 and its settles.
    """

    lookup_name = "one_of"

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """SQL and its parameters."""
        column, bound = self.process_lhs(compiler, connection)
        _words, words = self.process_rhs(compiler, connection)
        either = " OR ".join([f"{column} = %s"] * len(words))
        return f"({either})", [each for word in words for each in (*bound, word)]
