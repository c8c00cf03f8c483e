"""The size of a JSON column's text on PostgreSQL."""

from __future__ import annotations

from django.db.models import Case, F, Func, IntegerField, TextField, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import LessThanOrEqual


def json_rows(columns: str, alias: str, count: str = "json_array_length($1::json)") -> str:
    """The rows of the JSON array $1, for FROM. `columns`: names and types; `count`: how many there are, as SQL.

    The planner expects 100 such rows, a tenth of them after a LIMIT that it does not know, and so one after two. Then
    it looks each of them up by its key. With 100, a plan that is made while the table is small reads the whole table,
    and a session keeps that plan until the table is analyzed.
    """
    rows = f"SELECT * FROM json_to_recordset($1::json) AS listed({columns}) LIMIT {count}"
    return f"(SELECT * FROM ({rows}) AS tenth LIMIT {count}) AS {alias}"


#: The columns with the sizes of others.
SIZES = {"task_data": "task_data_size", "result": "result_size"}
#: A value without a size is measured if it has so few bytes in its row. A larger one may be compressed, and of a number
#: with an exponent hundreds of bytes are made.
MEASURED_BYTES = 2048


def json_bytes(column: str, exact: bool = False) -> Combinable:
    """See Store."""
    size = Func(Cast(F(column), TextField()), function="octet_length", output_field=IntegerField())
    if exact or column not in SIZES:
        return Coalesce(size, 0)
    stored = Func(F(column), function="pg_column_size", output_field=IntegerField())
    return Case(
        When(**{f"{column}__isnull": True}, then=0),
        When(**{f"{SIZES[column]}__isnull": False}, then=F(SIZES[column])),
        When(LessThanOrEqual(stored, MEASURED_BYTES), then=size),
        output_field=IntegerField(),
    )


def task_bytes() -> Combinable:
    """See Store. Without a size that was written with the row: what the column takes, maybe compressed."""
    return _bytes("task_data") + _bytes("result")


def _bytes(column: str) -> Combinable:
    taken = Func(F(column), function="pg_column_size", output_field=IntegerField())
    return Coalesce(F(f"{column}_size"), taken, 0)
