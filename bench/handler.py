"""What our handlers run: it answers with the task's own number and the moment at which it had the line."""

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
