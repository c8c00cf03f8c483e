from __future__ import annotations


def json_rows(columns: str, alias: str, count: str = "json_array_length($1::json)") -> str:
    """The rows of the JSON array $1, for FROM. `columns`: names and types; `count`: how many there are, as SQL.

    The planner expects 100 such rows, a tenth of them after a LIMIT that it does not know, and so one after two. Then
    it looks each of them up by its key. With 100, a plan that is made while the table is small reads the whole table,
    and a session keeps that plan until the table is analyzed.
    """
    rows = f"SELECT * FROM json_to_recordset($1::json) AS listed({columns}) LIMIT {count}"
    return f"(SELECT * FROM ({rows}) AS tenth LIMIT {count}) AS {alias}"
