"""A handler that says numbered lines for a while, and keeps in a file what it has said.

    python chatter.py FILE

For `seconds`, a line on stderr and, from time to time, progress on stdout every `apart` seconds. FILE has a line for
each that was written: the task, the attempt, the number and the moment of the monotonic clock.
"""

import json
import os
import sys
import time

record = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

for line in sys.stdin:
    task = json.loads(line)
    data, attempt = task["task_data"], task["attempt"]
    count = round(data["seconds"] / data["apart"])
    for number in range(count):
        print(f"{attempt}:{number}", file=sys.stderr, flush=True)
        said = {"task": task["task_id"], "attempt": attempt, "number": number, "at": time.monotonic()}
        os.write(record, json.dumps(said).encode() + b"\n")
        if number % 5 == 0:
            print(json.dumps({"progress": {"done": number, "total": count}, "message": f"{number}"}), flush=True)
        time.sleep(data["apart"])
    print(json.dumps({"status": "success", "result": count}), flush=True)
