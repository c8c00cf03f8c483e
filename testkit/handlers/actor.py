"""A handler that does what its task says, and records the start and end of each attempt in a file.

It imports nothing outside of the standard library.

    python actor.py EXECUTION_LOG

`do`: echo (default), sleep (`seconds`), wait (until the FIFO `gate` is opened for writing), tick (for ever: a line in
the file every 20 ms says that it still runs), error (`retryable`, `retry_in`), crash (`code`), garbage, print. With
`until`, it does so in the attempts before that number, and echoes from then on. With `size`, the result has so many
letters. `says` is printed first.
"""

import json
import os
import sys
import time

execution_log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(what: str, task: dict) -> None:
    entry = {
        "what": what,
        "task": task["task_id"],
        "attempt": task["attempt"],
        "at": time.monotonic(),
        "pid": os.getpid(),
    }
    os.write(execution_log, json.dumps(entry).encode() + b"\n")  # one write: lines of several handlers do not mix


def answer(task: dict, **reply: object) -> None:
    note("end", task)
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    task = json.loads(line)
    data = task["task_data"]
    do = data.get("do", "echo") if task["attempt"] < data.get("until", 1 << 30) else "echo"
    note("start", task)
    if "says" in data:
        print(data["says"], flush=True)
    if do == "sleep":
        time.sleep(data["seconds"])
    while do == "tick":
        note("tick", task)
        time.sleep(0.02)
    if do == "wait":
        open(data["gate"]).close()
    if do == "print":
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
    if do == "crash":
        print("going down", file=sys.stderr, flush=True)
        os._exit(data["code"])
    if do == "error":
        pause = {"retry_in": data["retry_in"]} if "retry_in" in data else {}
        answer(task, status="error", error="it did not work", retryable=data.get("retryable", False), **pause)
    elif do == "garbage":
        answer(task, status="success")  # no result
    else:
        answer(task, status="success", result="x" * data["size"] if "size" in data else data)
