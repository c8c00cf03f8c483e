"""A handler that tries what the sandbox forbids, and replies with the result. Uses only Python."""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTE = 1024 * 1024


def network(data: dict[str, Any]) -> object:
    with socket.create_connection((data.get("host", "192.0.2.1"), 80), timeout=2):
        return "connected"


def interfaces(data: dict[str, Any]) -> object:
    return sorted(os.listdir("/sys/class/net"))


def write(data: dict[str, Any]) -> object:
    Path(data["path"]).write_text("I was here")
    return os.stat(data["path"]).st_size


def fork_bomb(data: dict[str, Any]) -> object:
    children: list[int] = []
    try:
        while len(children) < 400:
            child = os.fork()
            if not child:
                time.sleep(600)
            children.append(child)
    except OSError as error:
        if data.get("leave"):
            raise
        return {"children": len(children), "errno": errno.errorcode[error.errno or 0]}
    finally:
        if not data.get("leave"):
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    return {"children": len(children), "errno": None}


def become_root(data: dict[str, Any]) -> object:
    os.setuid(0)
    return os.getuid()


def mount(data: dict[str, Any]) -> object:
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"none", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "mounted"


def eat(data: dict[str, Any]) -> object:
    return len(bytearray(b"x" * (data["megabytes"] * MEGABYTE)))


def feed_a_child(data: dict[str, Any]) -> object:
    program = f"x = bytearray(b'x' * {data['megabytes'] * MEGABYTE})"
    code = subprocess.run([sys.executable, "-S", "-E", "-c", program], check=False).returncode
    if data.get("hang"):
        time.sleep(600)
    if data.get("complain"):
        raise RuntimeError("my child is dead")
    return code


def fill(data: dict[str, Any]) -> object:
    written = 0
    with open(data["path"], "wb", buffering=0) as file:
        try:
            while written < data.get("megabytes", 512) * MEGABYTE:
                written += file.write(b"x" * MEGABYTE)
        except OSError as error:
            if data.get("raise"):
                raise
            return {"megabytes": written // MEGABYTE, "errno": errno.errorcode[error.errno or 0]}
    return {"megabytes": written // MEGABYTE, "errno": None}


def queues(data: dict[str, Any]) -> object:
    """How many message queues it can make, and what ends that."""
    for number in range(1000):
        try:
            os.open(f"/dev/mqueue/{number}", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            return {"queues": number, "errno": errno.errorcode[error.errno or 0]}
    return {"queues": 1000, "errno": None}


def execute(data: dict[str, Any]) -> object:
    program = Path("/tmp/program")
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    return subprocess.run([str(program)], check=False).returncode


def status(data: dict[str, Any]) -> object:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    words = {name: fields[name].split()[0] for name in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    return words | {
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
        "pid 1": Path("/proc/1/comm").read_text().strip(),
        "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
        "hostname": socket.gethostname(),
    }


def environment(data: dict[str, Any]) -> object:
    return dict(os.environ)


def leave_a_child(data: dict[str, Any]) -> object:
    """The child writes a reply later, while another task runs."""
    stale = json.dumps({"status": "success", "result": "stale"})
    subprocess.Popen(["/bin/sh", "-c", f"sleep {data['after']}; echo '{stale}'; sleep 600"])
    return "done"


def short_children(data: dict[str, Any]) -> object:
    """They are still ending at the reply."""
    for _ in range(3):
        subprocess.Popen(["/bin/sh", "-c", "exit 0"])
    return "done"


def flood(data: dict[str, Any]) -> object:
    """Short enough lines that it is not ended as a reply that is too long."""
    while True:
        os.write(1, b"x" * 65535 + b"\n")


def says(data: dict[str, Any]) -> object:
    """To be seen at work."""
    print("begun", flush=True)
    time.sleep(600)
    return "done"


DO: dict[str, Callable[[dict[str, Any]], object]] = {
    "network": network,
    "interfaces": interfaces,
    "write": write,
    "fork_bomb": fork_bomb,
    "become_root": become_root,
    "mount": mount,
    "eat": eat,
    "feed_a_child": feed_a_child,
    "fill": fill,
    "queues": queues,
    "execute": execute,
    "status": status,
    "environment": environment,
    "leave_a_child": leave_a_child,
    "short_children": short_children,
    "flood": flood,
    "says": says,
    "sleep": lambda data: time.sleep(data.get("seconds", 600)),
    "echo": lambda data: data,
}

for line in sys.stdin.buffer:
    asked = json.loads(line)["task_data"]
    try:
        answer: dict[str, Any] = {"status": "success", "result": DO[asked["do"]](asked)}
    except Exception as error:
        answer = {"status": "error", "error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
