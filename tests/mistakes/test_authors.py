"""Mistakes of whoever writes a handler: what is done, and what is said of it. One daemon has all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from testkit.daemon import Daemon
from testkit.images.recipes import PYTHON
from testkit.process import until
from tests.mistakes.table import Said, lacks

pytestmark = [
    pytest.mark.long("time-outs of handlers", seconds=30),
    pytest.mark.one_leg("what handlers do, whatever the database is"),
    pytest.mark.xdist_group("mistakes of authors"),
]

#: The header of an ELF program for a processor that nobody runs these tests on, s390x; as text, which is ASCII.
FOREIGN = "\x7fELF\x02\x02\x01" + "\0" * 9 + "\0\x02\0\x16" + "\0" * 44
LOOP = "import json, sys, time\nfor line in sys.stdin:\n    task = json.loads(line)\n    {}\n"


@dataclass(frozen=True)
class Mistake:
    """A handler with one mistake, and what is said of it: in `/health`, or with `task` of its task, which is posted.

    `script`: the text of the file `handler.py`, with the permissions `mode`. `keys`: of its table.
    """

    name: str
    says: Said
    script: str = ""
    command: tuple[str, ...] = ("python", "handler.py")
    mode: int = 0o644
    keys: dict[str, Any] = field(default_factory=dict)
    task: bool = False


def starts(name: str, what: str, why: str, then: str, script: str = "", **how: Any) -> Mistake:
    """A handler that does not start."""
    return Mistake(name, Said(what, f"handler '{name}'", why, then), script, **how)


def runs(name: str, what: str, why: str, then: str, script: str, **how: Any) -> Mistake:
    """A handler whose task fails."""
    return Mistake(name, Said(what, f"{name} failed", why, then), script, task=True, **how)


def replies(text: str) -> str:
    """A script that answers each line with the value of an expression."""
    return LOOP.format(f"print({text}, flush=True)")


SHORT = {"timeout": 2, "start_timeout": 5}


def with_sdk(body: str) -> str:
    """A script with the SDK; `body`: of its function, which gets a task."""
    return f"import os\nfrom taskdaemon import Error, Success, run\n\ndef handle(task):\n    {body}\n\nrun(handle)\n"


MISTAKES = (
    runs(
        "breakpoint-left-in", "timeout: no reply within 2 s", "`breakpoint()` stopped the handler at ",
        "take it out, and debug in a test", LOOP.format("breakpoint()"), keys=SHORT,
    ),
    runs(
        "reply-on-stderr", "timeout: no reply within 2 s", "wrote its reply to stderr", "write it to stdout",
        LOOP.format("""print('{"status": "success", "result": 1}', file=sys.stderr, flush=True)"""), keys=SHORT,
    ),
    runs(
        "reply-on-stderr-and-end", "crash: the handler ended with exit code 0", "its reply is on stderr",
        "write it to stdout",
        LOOP.format("""sys.exit(print('{"status": "error", "error": "x"}', file=sys.stderr, flush=True))"""),
    ),
    runs(
        "variable-of-the-node", "stderr: KeyError: 'API_KEY'", "only those that `env` and `env_from` name",
        'add env_from = ["API_KEY"]', "import os\n" + LOOP.format("os.environ['API_KEY']"),
    ),
    starts(
        "variable-at-the-start", "KeyError: 'API_KEY'", "only those that `env` and `env_from` name",
        'add env_from = ["API_KEY"]', "import os\nos.environ['API_KEY']\n",
    ),
    runs(
        "variable-with-the-sdk", "handler_error: 'API_KEY'", "only those that `env` and `env_from` name",
        'add env_from = ["API_KEY"]', with_sdk("return Success(os.environ['API_KEY'])"),
    ),
    runs(
        "key-with-the-sdk", "handler_error: 'name'", "a KeyError of Python", "post it, or catch the error",
        with_sdk("return Success(task.task_data['name'])"),
    ),
    runs(
        "returns-a-dict", "'dict' object has no attribute 'error'", "the SDK takes Success or Error alone",
        "write `return Success({...})`", with_sdk("return {'hello': 'Ada'}"),
    ),
    runs(
        "returns-nothing", "'NoneType' object has no attribute 'error'", "the SDK takes Success or Error alone",
        "write `return Success(None)`", with_sdk("task"),
    ),
    starts(
        "misspelt-program", "cannot be started", "there is no program pyton3 on the PATH", "did you mean python3?",
        command=("pyton3", "handler.py"),
    ),
    starts(
        "misspelt-script", "ends at once with exit code 2", "there is no file /", "correct the path (it is relative",
        command=("python", "handle.py"),
    ),
    starts(
        "not-executable", "cannot be started", "handler.py cannot be executed", "type: chmod +x", "#!/bin/sh\n",
        command=("./handler.py",),
    ),
    starts(
        "no-interpreter", "cannot be started", "begins with #!/usr/bin/pyton3, which does not exist",
        "install it, or correct the line", "#!/usr/bin/pyton3\n", mode=0o755, command=("./handler.py",),
    ),
    starts(
        "no-first-line", "cannot be started", "its first line names none", "begin it with one, such as #!/bin/sh",
        "while read line; do :; done\n", mode=0o755, command=("./handler.py",),
    ),
    starts(
        "line-ends-of-windows", "cannot be started", "has line ends of Windows", "type: sed -i",
        "#!/bin/sh\r\ncat\r\n", mode=0o755, command=("./handler.py",),
    ),
    starts(
        "return-behind-env", "ends at once with exit code 127", "has line ends of Windows", "type: sed -i",
        "#!/usr/bin/env python3\r\nprint(1)\r\n", mode=0o755, command=("./handler.py",),
    ),
    starts(
        "byte-order-mark", "cannot be started", "begins with a byte order mark, so its #! does not count",
        "save it without one", "\ufeff#!/usr/bin/env python3\nprint(1)\n", mode=0o755, command=("./handler.py",),
    ),
    starts(
        "another-processor", "cannot be started", "is an ELF program for s390x, and this machine is", "build it for ",
        FOREIGN, mode=0o755, command=("./handler.py",),
    ),
    runs(
        "shell-without-a-script", "timeout: no reply within 2 s", "a shell took the request for a command",
        "set `command` to the handler's program", "", command=("sh",),
    ),
    starts(
        "no-loop", "ends at once", "with exit code 0", "a handler reads lines until its stdin ends",
        "def handle(task):\n    return {}\n",
    ),
    starts(
        "no-such-module", "ends at once", "No module named 'nothing_of_the_kind'",
        "install its package for python, or correct the name",
        "import nothing_of_the_kind\n",
    ),
    starts(
        "variable-that-the-daemon-lacks", "cannot be started", "`env_from` names NOT_SET_ANYWHERE, which is not set",
        "set it there, or use `env`", replies("1"), keys={"env_from": ["NOT_SET_ANYWHERE"]},
    ),
    starts(
        "replies-before-a-task", "replied before its first task", '{"status": "success", "result": "ready"}',
        "a handler reads a line, then replies",
        """print('{"status": "success", "result": "ready"}', flush=True)\n""" + replies("1"),
    ),
    runs(
        "does-not-flush", "timeout: no reply within 2 s", "nothing on stdout, and the handler waits for its next line",
        "write the reply before, and flush stdout after it",
        LOOP.format("""print('{"status": "success", "result": 1}')"""), keys={"env": {"PYTHONUNBUFFERED": ""}},
    ),
    runs(
        "indented-json", "timeout: no reply within 2 s", "lines that are not a reply: {",
        "print it without indentation", replies("json.dumps({'status': 'success', 'result': 1}, indent=2)"),
    ),
    runs(
        "another-status", "timeout: no reply within 2 s", 'its `status` is "ok"', 'must be "success" or "error"',
        replies("json.dumps({'status': 'ok', 'result': 1})"),
    ),
    runs(
        "quotes-of-python", "timeout: no reply within 2 s", "1 line that is not a reply: {'status'",
        "JSON strings have double quotes", replies("{'status': 'success', 'result': 1}"),
    ),
    runs(
        "no-line-end", "timeout: no reply within 2 s", 'stdout has no line end after {"status": "success"',
        "print one, and flush stdout",
        LOOP.format("""print('{"status": "success", "result": 1}', end="", flush=True)"""),
    ),
    runs(
        "no-result", "bad_reply", "the status success and no `result`", "write one, such as null",
        replies("json.dumps({'status': 'success'})"),
    ),
    runs(
        "not-a-number", "bad_reply", "the result is not a JSON value", "write null, or a text",
        replies("json.dumps({'status': 'success', 'result': float('nan')})"),
    ),
    runs(
        "another-task-id", "bad_reply", "the reply's `task_id` is 'mine'", "send the task's, or none",
        replies("json.dumps({'status': 'success', 'result': 1, 'task_id': 'mine'})"),
    ),
    runs(
        "exits-in-a-task", "crash", "the handler ended with exit code 0", "before it replied",
        LOOP.format("sys.exit(0)"),
    ),
    runs(
        "variable-that-is-not-there", "crash: the handler ended with exit code 1", " | stderr: KeyError: 'API_TOKEN'",
        'handler.py", line 5', "import os\n" + LOOP.format("os.environ['API_TOKEN']"),
    ),
    runs(
        "exception-with-the-sdk", "handler_error: KeyError('name')", 'handler.py", line 9, in reply',
        """Success(task.task_data['name'])""",
        """import traceback
from taskdaemon import Error, Success, run

def handle(task):
    return Success(task.task_data['name'])

def reply(task):
    try:
        return handle(task)
    except Exception as error:
        traceback.print_exc()
        return Error(repr(error))

run(reply)
""",
    ),
    runs(
        "loops", "timeout: no reply within 2 s", "nothing on stdout: the handler was still at work",
        "raise its `timeout`, or let it write to stderr how far it is",
        LOOP.format("while True: pass"),
    ),
    runs(
        "ignores-sigterm", "timeout: no reply within 2 s", "nothing on stdout: the handler was still at work",
        "raise its `timeout`, or let it write to stderr how far it is",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LOOP.format("time.sleep(60)"),
    ),
)  # fmt: skip
IN_CONTAINERS = (
    starts(
        "boxed-processor", "ends at once", "/data/foreign is an ELF program for s390x, and the Docker engine's machine",
        "docker build --platform linux/", command=("/data/foreign",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-interpreter", "ends at once with exit code 127", "/data/gone begins with #!/gone/sh, which does not",
        "exist in its image; install it", command=("/data/gone",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-line-ends", "ends at once with exit code 127", "/data/returns has line ends of Windows", "type: sed -i",
        command=("/data/returns",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-mark", "ends at once", "/data/marked begins with a byte order mark, so its #! does not count",
        "save it without one", command=("/data/marked",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-first-line", "ends at once", "/data/bare is no program, and its first line names none",
        "begin it with one", command=("/data/bare",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-mark-ends-well", "ends at once with exit code 0", "/data/idle begins with a byte order mark",
        "save it without one", command=("/data/idle",), keys={"mounts": ["{data}:/data"]},
    ),
    starts(
        "boxed-empty", "ends at once with exit code 0", "/data/empty is empty", "write the handler's program",
        command=("/data/empty",), keys={"mounts": ["{data}:/data"]},
    ),
    runs(
        "boxed-shell", "timeout: no reply within 2 s", "a shell took the request for a command",
        "set `command` to the handler's program", "", command=("sh",), keys={"timeout": 2, "start_timeout": 2},
    ),
    *(one for one in MISTAKES if one.name in ("reply-on-stderr", "variable-of-the-node")),
    runs(
        "writes-to-a-mount", "crash", " | stderr: OSError: [Errno 30] Read-only file system: '/data/out'", "writable",
        LOOP.format("open('/data/out', 'w')"), keys={"mounts": ["{data}:/data"]},
    ),
    runs(
        "takes-all-memory", "oom", "was killed for memory", "`memory_limit` allows more",
        LOOP.format("held = b'x' * (1 << 28)"), keys={"memory_limit": "32m"},
    ),
)  # fmt: skip
#: What the containers may run.
FILES = {
    "foreign": FOREIGN, "gone": "#!/gone/sh\n", "returns": "#!/bin/sh\r\n",
    "marked": "\ufeff#!/usr/bin/python3\nimport a\n)\n", "bare": "import sys\n)\n",
    "idle": "\ufeff#!/bin/sh\nexit 0\n", "empty": "",
}  # fmt: skip


def write(daemon: Daemon, one: Mistake, data: str = "") -> None:
    """Make the handler: a folder with its script, and its table. `data`: a folder that it may mount."""
    folder = daemon.home / one.name
    folder.mkdir()
    path = folder / "handler.py"
    path.write_text(one.script, newline="")
    path.chmod(one.mode)
    keys = {"instances": 1, "max_retries": 0, "timeout": 2, "start_timeout": 5, **one.keys}
    if data:
        command = ["python", "-c", one.script] if one.script else list(one.command)
        keys = {"image": PYTHON, "command": command, **keys, **({"timeout": 30, "start_timeout": 30} | one.keys)}
    else:
        keys["command"] = [word.replace("handle", f"{one.name}/handle") for word in one.command]
    lines = [f"{name} = {toml(value)}" for name, value in keys.items()]
    with daemon.config.open("a") as file:
        file.write("\n".join([f"[handlers.{one.name}]", *lines, ""]).replace("{data}", data))


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def all_said(daemon: Daemon, mistakes: tuple[Mistake, ...]) -> dict[str, str]:
    """What is said of each, once all that is to be said has been."""
    daemon.web()
    worker = daemon.worker()
    tasks = {one.name: daemon.post(one.name) for one in mistakes if one.task}
    found = {name: of_task(daemon, task) for name, task in tasks.items()}
    problems: list[str] = []

    def look() -> bool:
        problems[:] = daemon.http.get("/health").json().get("problems", [])
        found.update({one.name: text for one in mistakes for text in problems if f"handler '{one.name}'" in text})
        return found.keys() == {one.name for one in mistakes}

    until(look, what=lambda: f"a problem of each handler; there are {problems}")
    worker.stop()  # which removes its containers
    return found


def of_task(daemon: Daemon, identity: str) -> str:
    """What its caller and its page say of a task that has failed: its reason and error, and its log."""
    task = daemon.until_final(identity)
    log = daemon.http.get(f"/api/tasks/{identity}/attempts").json()[-1]["stderr_tail"]
    return f"{task['task_type']} {task['status']}, {task['failure_reason']}: {task['last_error']}\n{log}"


@pytest.fixture(scope="module")
def said(module_deployment: Callable[..., Daemon]) -> dict[str, str]:
    daemon = module_deployment()
    for one in MISTAKES:
        write(daemon, one)
    return all_said(daemon, MISTAKES)


@pytest.fixture(scope="module")
def said_of_containers(module_deployment: Callable[..., Daemon]) -> Iterator[dict[str, str]]:
    with TemporaryDirectory(prefix="mount-", dir="/tmp") as data:
        Path(data).chmod(0o777)
        for name, text in FILES.items():
            (Path(data) / name).write_text(text, newline="")
            (Path(data) / name).chmod(0o755)
        daemon = module_deployment(DAEMON_MOUNT_ROOTS=data)
        for one in IN_CONTAINERS:
            write(daemon, one, data)
        yield all_said(daemon, IN_CONTAINERS)
        daemon.close()


@pytest.mark.parametrize("one", MISTAKES, ids=lambda one: one.name)
def test_a_mistake_of_an_author_is_told(said: dict[str, str], one: Mistake) -> None:
    assert lacks(said[one.name], one.says) == {}, said[one.name]


@pytest.mark.docker
@pytest.mark.parametrize("one", IN_CONTAINERS, ids=lambda one: one.name)
def test_a_mistake_in_a_container_is_told(said_of_containers: dict[str, str], one: Mistake) -> None:
    assert lacks(said_of_containers[one.name], one.says) == {}, said_of_containers[one.name]
