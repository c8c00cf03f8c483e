"""The measured handler: it answers with the task's number and the time when it had read the line."""

from __future__ import annotations

SOURCE = """
import json, sys, time
for line in sys.stdin:
    number = json.loads(line)["task_data"]["n"]
    sys.stdout.write('{"status":"success","result":[%d,%.6f]}\\n' % (number, time.monotonic()))
    sys.stdout.flush()
"""
COMMAND = ("python3", "-S", "-E", "-c", SOURCE)
NAME = "stamp"
