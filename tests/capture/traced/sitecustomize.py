"""Python imports this at a start if its folder is in PYTHONPATH: SQLite's statements go to a file of the process."""

from __future__ import annotations

import os
import sqlite3
import sqlite3.dbapi2
from pathlib import Path
from typing import Any

if folder := os.environ.get("CAPTURE_STATEMENTS"):
    original: Any = sqlite3.connect

    def connect(*words: Any, **more: Any) -> Any:
        connection = original(*words, **more)

        def note(text: str) -> None:
            with (Path(str(folder)) / str(os.getpid())).open("a") as file:
                file.write(text + "\0")

        connection.set_trace_callback(note)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = connect
