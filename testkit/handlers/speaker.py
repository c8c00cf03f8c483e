"""A handler that says how far it is. It imports nothing outside of the standard library.

`lines` lines on stderr and on stdout, `pause` seconds apart, each with its progress; before them `flood` megabytes on
stdout. With `waits` it then waits to be killed, and says `cleaning up` on SIGTERM.
"""

import json
import os
import signal
import sys
import time


def clean_up(*_: object) -> None:
    os.write(2, b"cleaning up\n")
    os._exit(0)


signal.signal(signal.SIGTERM, clean_up)
for line in sys.stdin:
    task = json.loads(line)
    data = task["task_data"]
    for _ in range(data.get("flood", 0)):
        os.write(1, b"0123456789abcde\n" * 65536)
    for number in range(1, data.get("lines", 0) + 1):
        print(f"{task['attempt']}: log {number}", file=sys.stderr, flush=True)
        print(f"{task['attempt']}: out {number}", flush=True)
        message = {"progress": {"done": number, "total": data["lines"]}, "message": f"step {number}"}
        print(json.dumps(message), flush=True)
        time.sleep(data.get("pause", 0))
    while data.get("waits"):
        time.sleep(0.05)
    print(json.dumps({"status": "success", "result": data.get("lines", 0)}), flush=True)
