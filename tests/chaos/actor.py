"""The handler of the chaos: it reports each start and end to a witness, and in between does what the task says.

    python3 -S -E actor.py WITNESS
    python3 -S -E -c TEXT-OF-THIS-FILE WITNESS

WITNESS is an existing file or FIFO. `do`: quick, slow (`seconds`), error (retryable, perhaps with `retry_in`), refuse
(an error that is not), crash, mute (exits without a reply), hang, flood, chatter (a numbered line on stderr every
`apart` seconds for `seconds`, and progress on stdout); twice (a second reply `gap` seconds after the first), early (a
second reply when the next line is there but unread), late (a reply after `seconds`, near the timeout, and a second
one), large (a result with a text of `bytes`, the task's id again and again), digits (a result with `count` numbers,
each long once it is stored). With `until`, it does so only in the attempts before that number. While there is a file
`broken` beside the witness, a handler that starts loads for a moment and ends, and one that has started ends after its
reply; either tells the witness.

Every reply names its task in its result or error. Half of these handlers also send `task_id`.
"""

import json
import os
import random
import select
import signal
import sys
import time

BROKEN = os.path.join(os.path.dirname(sys.argv[1]), "broken")
witness = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
NAMES_TASKS = random.random() < 0.5


def report(what: str, task: dict, **more: int) -> None:
    entry = {
        **more,
        "what": what,
        "task": task["task_id"],
        "attempt": task["attempt"],
        "at": time.time(),
        "process": f"{os.uname().nodename}:{os.getpid()}",
    }
    os.write(witness, json.dumps(entry).encode() + b"\n")  # one short write, so that handlers' lines do not mix


def end_broken(seconds: float = 0.0) -> None:
    """End, without a word on stderr: a stream has only lines that tasks made."""
    report("broken", {"task_id": "", "attempt": 0})
    time.sleep(seconds)
    sys.exit(1)


def reply_to(task: dict, reply: dict) -> None:
    if NAMES_TASKS:
        reply["task_id"] = task["task_id"]
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def succeed(task: dict, **more: object) -> None:
    report("end", task)
    result = {"task": task["task_id"], "n": task["task_data"]["n"], "attempt": task["attempt"], **more}
    reply_to(task, {"status": "success", "result": result})


def fail(task: dict, **reply: object) -> None:
    report("end", task)
    name = f"(task {task['task_id']}, attempt {task['attempt']})"
    reply_to(task, {"status": "error", "error": f"no {name}"} | reply)


def again(task: dict) -> None:
    """Send a second reply."""
    report("again", task)
    reply_to(
        task, {"status": "success", "result": {"task": task["task_id"], "attempt": task["attempt"], "again": True}}
    )


def await_line() -> None:
    """Wait until stdin is readable or closed."""
    poller = select.poll()
    poller.register(0, select.POLLIN)
    poller.poll()


def flood() -> None:
    for _ in range(20):
        sys.stdout.write("x" * 70_000 + "\n" + "short\n" * 500)
        sys.stderr.write("y" * 70_000)
    sys.stdout.flush()
    sys.stderr.flush()


def chatter(task: dict) -> None:
    """Say lines, and tell the witness of each: one that is killed in between has said one more."""
    data = task["task_data"]
    count = round(data["seconds"] / data["apart"])
    for number in range(count):
        os.write(2, f"{task['task_id']} {task['attempt']} {number}\n".encode())
        report("said", task, number=number)
        if number % 5 == 0:
            os.write(1, json.dumps({"progress": {"done": number, "total": count}}).encode() + b"\n")
        time.sleep(data["apart"])


if os.path.exists(BROKEN):
    end_broken(random.choice((0.3, 1.5)))  # before it may have a task, and with one that it does not read
for line in sys.stdin:
    task = json.loads(line)
    data = task["task_data"]
    do = data["do"] if task["attempt"] < data.get("until", 1 << 30) else "quick"
    report("start", task)
    if do in ("slow", "late"):
        time.sleep(data["seconds"])
    elif do == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif do == "mute":
        os._exit(0)
    elif do == "hang":
        time.sleep(3600)
    elif do == "flood":
        flood()
    elif do == "chatter":
        chatter(task)
    if do == "error":
        fail(task, retryable=True, **{name: data[name] for name in ("retry_in",) if name in data})
    elif do == "refuse":
        fail(task)
    elif do == "large":
        size, name = data["bytes"], task["task_id"]
        succeed(task, fill=(name * (size // len(name) + 1))[:size])
    elif do == "digits":
        succeed(task, fill=[1e308] * data["count"])
    else:
        succeed(task)
    if do == "twice":
        time.sleep(data["gap"])
    elif do == "early":
        await_line()
    if do in ("twice", "early", "late"):
        again(task)
    if os.path.exists(BROKEN):
        end_broken()
