"""The handler of the chaos: it tells a witness of each start and end, and does between them what the task says.

    python3 -S -E actor.py WITNESS        (or the text of this file behind -c: a container has no such file)

WITNESS is a file or a FIFO that is there. `do`: quick, slow (`seconds`), error (retryable), refuse (an error that is
not), crash, mute (ends without a word), hang, flood. With `until`, it does so in the attempts before that number only.
"""

import json
import os
import signal
import sys
import time

witness = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)


def tell(what: str, task: dict) -> None:
    entry = {
        "what": what,
        "task": task["task_id"],
        "attempt": task["attempt"],
        "at": time.time(),
        "who": f"{os.uname().nodename}:{os.getpid()}",
    }
    os.write(witness, json.dumps(entry).encode() + b"\n")  # one short write: those of several handlers do not mix


def answer(task: dict, **reply: object) -> None:
    tell("end", task)
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def flood() -> None:
    for _ in range(20):
        sys.stdout.write("x" * 70_000 + "\n" + "short\n" * 500)
        sys.stderr.write("y" * 70_000)
    sys.stdout.flush()
    sys.stderr.flush()


for line in sys.stdin:
    task = json.loads(line)
    data = task["task_data"]
    do = data["do"] if task["attempt"] < data.get("until", 1 << 30) else "quick"
    tell("start", task)
    if do == "slow":
        time.sleep(data["seconds"])
    elif do == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif do == "mute":
        os._exit(0)
    elif do == "hang":
        time.sleep(3600)
    elif do == "flood":
        flood()
    if do == "error":
        answer(task, status="error", error="not now", retryable=True)
    elif do == "refuse":
        answer(task, status="error", error="never")
    else:
        answer(task, status="success", result={"n": data["n"], "attempt": task["attempt"]})
