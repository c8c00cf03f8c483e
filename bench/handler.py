"""The measured handler: it answers with the task's number and the time when it had read the line."""

from __future__ import annotations

SOURCE = """
import json, sys, time
for line in sys.stdin:
    number = json.loads(line)["task_data"]["n"]
    sys.stdout.write('{"status":"success","result":[%d,%.6f]}\\n' % (number, time.monotonic()))
    sys.stdout.flush()
"""
#: The same with work, which a task with `seconds` says itself.
WORKING = """
import json, sys, time
for line in sys.stdin:
    read, data = time.monotonic(), json.loads(line)["task_data"]
    time.sleep(data.get("seconds", %s))
    sys.stdout.write('{"status":"success","result":[%%d,%%.6f]}\\n' %% (data["n"], read))
    sys.stdout.flush()
"""
COMMAND = ("python3", "-S", "-E", "-c", SOURCE)
NAME = "stamp"


def command(work: float) -> tuple[str, ...]:
    """The command of a handler that takes so many seconds for a task."""
    return (*COMMAND[:-1], WORKING % work) if work else COMMAND
