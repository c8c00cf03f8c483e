"""The size of a JSON column's text on SQLite, where the column is text."""

from __future__ import annotations

import sqlite3

from django.db.models import F, Func, IntegerField
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

#: Since 3.43 there is octet_length, which need not read the text.
TEMPLATE = (
    "octet_length(%(expressions)s)"
    if sqlite3.sqlite_version_info >= (3, 43)
    else "length(CAST(%(expressions)s AS BLOB))"
)


def json_bytes(column: str, exact: bool = False) -> Combinable:
    """See Store. It is exact, as it need not read the text."""
    return Coalesce(Func(F(column), template=TEMPLATE, output_field=IntegerField()), 0)


def task_bytes() -> Combinable:
    """See Store. Before 3.43 the text is read after all."""
    return json_bytes("task_data") + json_bytes("result")
