"""What characters a database can keep. Without the driver: SQLite has no need of it."""

from __future__ import annotations

from typing import Any


def encoding_fault(connection: Any) -> str | None:
    """Why the database of an open connection of psycopg's cannot keep every text that JSON may carry, or None.

    The server said so as it greeted: nothing is asked.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding in (None, "UTF8"):
        return None
    name = connection.info.dbname
    return (
        f"the database {name!r} keeps its text in {encoding}, which has no place for some characters of a task's "
        "data; it has to be UTF8. Make another one (CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0), bring "
        "over what is in this one (pg_dump, psql), and name it in DATABASE_URL"
    )
