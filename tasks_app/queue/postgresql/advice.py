"""What an error of the server means for whoever has set it up, and what to do next."""

from __future__ import annotations

import re
from shlex import quote

from django.db import connection

from tasks_app.conf import ours
from tasks_app.db.postgresql.calls import is_refused
from tasks_app.db.write_health import first_line, is_full

NO_TABLE, NO_COLUMN = "42P01", "42703"
_NO_DATABASE, _NO_USER, _NO_HOST, _PASSWORD, _OPTION = map(
    re.compile,
    (
        r'database "[^"]*" does not exist', r'role "[^"]*" does not exist', "failed to resolve host",
        "password authentication failed|no password supplied", "invalid (connection option|URI query|sslmode)",
    ),
)  # fmt: skip


def lacks_tables(error: BaseException) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in (NO_TABLE, NO_COLUMN)


def advice(error: Exception) -> str:
    if is_refused(error):
        return str(error)
    settings, text, reason = connection.settings_dict, str(error), first_line(error)
    name, user, host, port = (str(settings[key] or "") for key in ("NAME", "USER", "HOST", "PORT"))
    where = f"{host or 'the local socket'}{port and f':{port}'}"
    # As the server's administrator, whatever user DATABASE_URL names.
    as_administrator = f"{host and f'-h {quote(host)} '}{port and f'-p {port} '}-U postgres"
    if lacks_tables(error):
        return f"the database does not have all its tables ({reason}): run {ours('prepare')}"
    if is_full(reason):
        return f"the disk of the server {where} is full ({reason}): make room on it"
    if _NO_DATABASE.search(text):
        create = f"createdb {as_administrator}{user and f' -O {quote(user)}'} {quote(name)}"
        return f'there is no database "{name}" on {where}: create it ({create}), or correct DATABASE_URL'
    if _NO_USER.search(text):
        create = f"createuser {as_administrator} --pwprompt {quote(user)}"
        return f'there is no user "{user}" on {where}: create it ({create}), or correct DATABASE_URL'
    if _PASSWORD.search(text):
        return (
            f'the server {where} does not let in the user "{user}" (wrong password, or none): correct it in '
            "DATABASE_URL; special characters are percent-encoded (p%40ss)"
        )
    if _OPTION.search(text):
        return f"DATABASE_URL: {reason}; correct what follows its ?"
    if _NO_HOST.search(text):
        return f"the database cannot be reached: {reason}; correct the host in DATABASE_URL"
    if getattr(error.__cause__, "sqlstate", None) is None:
        return f"the database cannot be reached: {reason}; start the server {where}, or correct DATABASE_URL"
    return f"the database cannot be used: {reason}"
