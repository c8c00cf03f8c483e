"""tidy: works for `seconds` with a temporary folder, which it also removes if a cancel or its timeout stops it.

It prints its progress each second.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from taskdaemon import Error, Result, Success, Task, run


def stop(number: int, frame: object) -> None:
    """Leave the task: SystemExit ends its `with` and `finally` blocks, wherever it is."""
    sys.exit(0)


def handle(task: Task) -> Result:
    seconds = task.task_data.get("seconds", 1)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= 3600:
        return Error("data.seconds must be an integer from 0 to 3600")
    try:
        with tempfile.TemporaryDirectory(prefix=f"tidy-{task.task_id}-") as folder:
            for second in range(seconds):
                Path(folder, str(second)).touch()
                time.sleep(1)
                print(json.dumps({"progress": {"done": second + 1, "total": seconds}}), flush=True)
            return Success({"files": seconds})
    finally:
        print("cleaned up", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    run(handle)
