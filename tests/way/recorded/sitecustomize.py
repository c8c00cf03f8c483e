"""Python imports this at a start if its folder is in PYTHONPATH: the files of tasks_app whose functions run are noted.

WAY_FOLDER: where. While its file `go` exists, each call of a function of tasks_app adds a line `thread file` to a file
of the process. `sys.setprofile` and not `sys.monitoring`, which Python 3.11 does not have.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

if folder := os.environ.get("WAY_FOLDER"):
    place = Path(folder)
    noted: set[tuple[str, str]] = set()
    ours = f"{os.sep}tasks_app{os.sep}"
    relative: dict[Any, str | None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in relative:
            _, found, inside = code.co_filename.rpartition(ours)
            # A module's own code runs when it is imported.
            relative[code] = inside if found and code.co_name != "<module>" else None
        if (name := relative[code]) is None:
            return
        line = (threading.current_thread().name, name)
        if line in noted or not (place / "go").exists():
            return
        noted.add(line)
        with (place / f"{os.getpid()}.files").open("a") as file:
            file.write(f"{line[0]}\t{line[1]}\n")

    threading.setprofile(note)
    sys.setprofile(note)
