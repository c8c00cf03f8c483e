"""What an error of the file means for whoever has set it up, and what to do next."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.db import connection

from tasks_app.conf import ours
from tasks_app.db.write_health import first_line, is_full

#: A database cannot be opened with less room on its disk.
LEAST_BYTES = 64 * 1024
ANOTHER_FILE = "set DAEMON_DB_PATH (or DATABASE_URL) to another file"


def lacks_tables(error: BaseException) -> bool:
    text = str(error)
    return text.startswith(("no such table", "no such column")) or "has no column named" in text


def advice(error: Exception) -> str:
    reason, file = first_line(error), Path(connection.settings_dict["NAME"])
    if lacks_tables(error):
        return f"the database does not have all its tables ({reason}): run {ours('prepare')}"
    if not file.parent.is_dir():
        return f"the database cannot be opened: there is no folder {file.parent}; create it, or {ANOTHER_FILE}"
    # Without room for its log, SQLite says no more than "disk I/O error".
    if is_full(reason) or (reason == "disk I/O error" and shutil.disk_usage(file.parent).free < LEAST_BYTES):
        return f"the disk of {file} is full ({reason}): make room on it"
    if "unable to open" in reason:
        return f"the database {file} cannot be opened: let this user write to it and its folder, or {ANOTHER_FILE}"
    if "readonly" in reason:
        return f"the database {file} cannot be written ({reason}): let this user write to it and its folder"
    if "not a database" in reason or "malformed" in reason:
        return f"{file} is not a database of SQLite, or is damaged ({reason}): restore a backup, or {ANOTHER_FILE}"
    return f"the database cannot be used: {reason}"
