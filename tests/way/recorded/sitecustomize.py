"""Python imports this at a start if its folder is in PYTHONPATH: the files of tasks_app whose functions run are noted.

WAY_FOLDER: where. While its file `task` has a number, each call of a function of tasks_app adds a line `number thread
file` to a file of the process. `sys.setprofile` and not `sys.monitoring`, which Python 3.11 does not have.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

if folder := os.environ.get("WAY_FOLDER"):
    place = Path(folder)
    noted: set[tuple[str, str, str]] = set()
    ours = f"{os.sep}tasks_app{os.sep}"
    names: dict[CodeType, str | None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in names:
            _, is_ours, inside = code.co_filename.rpartition(ours)
            # A module's own code runs when it is imported.
            names[code] = inside if is_ours and code.co_name != "<module>" else None
        if (name := names[code]) is None or not (number := (place / "task").read_text()):
            return
        line = (number, threading.current_thread().name, name)
        if line not in noted:
            noted.add(line)
            with (place / f"{os.getpid()}.files").open("a") as file:
                file.write("\t".join(line) + "\n")

    threading.setprofile(note)
    sys.setprofile(note)
