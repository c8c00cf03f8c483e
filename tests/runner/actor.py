"""A handler that does what the task says: every way to reply well, badly, or not at all. Uses only Python.

    actor.py [MODE] [names]

With `names` its ordinary replies have a `task_id`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

BEGINNING = os.sysconf("SC_PAGE_SIZE") + 10
"""More than the part of a long line that is sent before the handler has begun to read it."""

NAMES_TASKS = sys.argv[-1] == "names"
named: dict[str, str] = {}
"""What every ordinary reply to the present task has besides."""

out, err = sys.stdout.buffer, sys.stderr.buffer


def say(text: str | bytes) -> None:
    out.write(text if isinstance(text, bytes) else text.encode())
    out.flush()


def reply(result: object) -> None:
    say(json.dumps({"status": "success", "result": result} | named) + "\n")


def later(seconds: float, text: str) -> None:
    threading.Timer(seconds, say, [text]).start()


def read_exactly(size: int) -> None:
    while size:
        size -= len(os.read(0, size))


def for_ever(write: Callable[[], object]) -> None:
    while True:
        write()


def grandchild(data: dict[str, Any]) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"])
    say(f"{child.pid}\n")
    time.sleep(600)


def leaves_behind(data: dict[str, Any]) -> None:
    """Reply with the pids of a child in its process group and of one in a session of its own, and exit."""
    words, null = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"], subprocess.DEVNULL
    children = [
        subprocess.Popen(words, start_new_session=apart, stdin=null, stdout=null, stderr=null)
        for apart in (False, True)
    ]
    reply([child.pid for child in children])
    os._exit(0)


def stubborn(data: dict[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def sleep(data: dict[str, Any]) -> None:
    # A signal that arrives just before the system call is handled only after it.
    for _ in range(12_000):
        time.sleep(0.05)


def no_stdout(data: dict[str, Any]) -> None:
    os.close(1)
    time.sleep(600)


def die(data: dict[str, Any]) -> None:
    err.write(b"going down\n")
    err.flush()
    os._exit(data["code"])


def last_words(data: dict[str, Any]) -> None:
    reply("last words")
    os._exit(0)


def late(data: dict[str, Any]) -> None:
    reply(1)
    later(0.05, '{"status": "success", "result": "late"}\n')


def again(data: dict[str, Any]) -> None:
    """Replies twice before it reads on. With `names` both replies name their task; with `once` only the first does.

    `gap`: seconds between the two; None: until a byte of the next line has come.
    """
    name = {"task_id": data["names"]} if "names" in data else {}
    text = json.dumps({"status": "success", "result": data["n"]} | name) + "\n"
    say(text)
    if data["gap"] is None:
        select.select([0], [], [])
    else:
        time.sleep(data["gap"])
    say(json.dumps({"status": "success", "result": data["n"]}) + "\n" if data.get("once") else text)


def reply_and_hang(data: dict[str, Any]) -> None:
    reply("busy")
    time.sleep(600)


def reply_and_close_stdin(data: dict[str, Any]) -> None:
    reply("stubborn")
    os.close(0)
    time.sleep(600)


def reply_wait_and_exit(data: dict[str, Any]) -> None:
    reply("bye")
    select.select([0], [], [])
    os._exit(0)


def reply_read_a_byte_and_exit(data: dict[str, Any]) -> None:
    reply("a byte")
    os.read(0, 1)
    os._exit(0)


def print_first(data: dict[str, Any]) -> None:
    say(b'one\n{"two": 2}\n[3]\n\xff\n')
    err.write(b"a log\n")
    err.flush()
    reply("done")


def says(data: dict[str, Any]) -> None:
    """Writes to both streams, and after so many seconds the rest."""
    say('first\n{"progress": 0.5, "message": "half"}\n')
    err.write(b"a warning\n")
    err.flush()
    time.sleep(data["seconds"])
    say("last\n")
    reply("said")


DO: dict[str, Callable[[dict[str, Any]], object]] = {
    "echo": lambda data: reply(data),
    "error": lambda data: say(
        json.dumps({"status": "error", "error": data["error"], "retryable": data.get("retryable", False)} | named)
        + "\n"
    ),
    "raw": lambda data: say(data["raw"] + "\n"),
    "hex": lambda data: say(bytes.fromhex(data["hex"])),
    "pid": lambda data: reply(os.getpid()),
    "environment": lambda data: reply({"env": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv[1:]}),
    "big": lambda data: reply("x" * data["size"]),
    "sleep": sleep,
    "stubborn": stubborn,
    "unflushed": lambda data: None,
    "leaves_behind": leaves_behind,
    "exit": die,
    "signal": lambda data: os.kill(os.getpid(), data["signal"]),
    "no_stdout": no_stdout,
    "reply_and_exit": last_words,
    "print_first": print_first,
    "says": says,
    "two": lambda data: say('{"status": "success", "result": 1}\n{"status": "success", "result": 2}\n'),
    "reply_and_a_piece": lambda data: say('{"status": "success", "result": 1}\n{"sta'),
    "late": late,
    "again": again,
    "named": lambda data: say(json.dumps({"status": "success", "result": data["n"], "task_id": data["names"]}) + "\n"),
    "reply_and_hang": reply_and_hang,
    "reply_and_close_stdin": reply_and_close_stdin,
    "reply_wait_and_exit": reply_wait_and_exit,
    "reply_read_a_byte_and_exit": reply_read_a_byte_and_exit,
    "flood": lambda data: for_ever(lambda: out.write(b"x" * 65536)),
    "flood_lines": lambda data: for_ever(lambda: out.write(b"{\n" * 32768)),
    "flood_stderr": lambda data: for_ever(lambda: err.write(b"x" * 65536)),
    "grandchild": grandchild,
}


def on_sigterm(mode: str) -> None:
    """Clean up and exit, reply or flood and exit, or reply and live on. It may have come within a write to `out`."""
    os.write(2, b"cleaning up\n")
    if mode == "exhausts_memory":
        bytearray(b"x") * 2**30
    elif mode == "floods_and_exits":
        for _ in range(640):
            os.write(1, b"x" * 65536)
    elif mode != "tidy":
        os.write(1, b'{"status": "success", "result": "too late"}\n')
    if mode != "replies_and_lives":
        os._exit(0)


def lines() -> Iterator[bytes]:
    """The lines of stdin. A signal that arrives just before a read is handled only after it, so no read waits long."""
    rest = b""
    while True:
        while not select.select([0], [], [], 0.05)[0]:
            pass
        if not (piece := os.read(0, 65536)):
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def main(mode: str) -> None:
    cleans_up = mode in ("tidy", "replies_and_exits", "replies_and_lives", "floods_and_exits", "exhausts_memory")
    if cleans_up:
        signal.signal(signal.SIGTERM, lambda *_: on_sigterm(mode))
    if mode == "die":
        err.write(b"no model file\n")
        err.flush()
        os._exit(3)
    if mode == "stubborn":
        time.sleep(600)
    if mode == "eager":
        reply("nobody asked")
    if mode == "banner":
        say("loading ...\n")
        later(0.1, "ready\n")
    if mode == "sleepy":
        time.sleep(0.2)
    if mode == "half":
        read_exactly(BEGINNING)
        os.close(0)
        reply("that will do")
        time.sleep(600)
    if mode == "answers_first":
        read_exactly(BEGINNING)
        reply("too long")
    for line in lines() if cleans_up else sys.stdin.buffer:
        task = json.loads(line)
        data = task["task_data"]
        if NAMES_TASKS:
            named["task_id"] = task["task_id"]
        DO[data["do"]](data)


main(sys.argv[1] if len(sys.argv) > 1 else "")
