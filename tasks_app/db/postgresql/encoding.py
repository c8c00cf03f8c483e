"""The check of the database's encoding. Does not import the driver, which a node on SQLite has not loaded."""

from __future__ import annotations

from typing import Any


def encoding_fault(connection: Any) -> str | None:
    """Why the database of an open psycopg connection cannot store every JSON text; None if it can.

    Sends no query: the server reports its encoding at the start of a connection.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding in (None, "UTF8"):
        return None
    name = connection.info.dbname
    return (
        f"the database {name!r} has the encoding {encoding}, which cannot store every character of a task's data; it "
        "has to be UTF8. Create another one (CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0), copy the data "
        "to it (pg_dump, psql), and name it in DATABASE_URL"
    )
