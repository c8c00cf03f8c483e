"""A fork of a node's process while a thread holds a lock: that thread is not in the child, and the lock is never free.

`subprocess` calls the hooks too where a child handler cannot be started by setpriv, and its parent waits for them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
#: Makes a list of every lock that the platform's modules make, here and in what they call of the standard library, and
#: forks a node once for each, while another thread holds it.
FORKS = """
import faulthandler, os, pkgutil, signal, sys, threading, time
from importlib import import_module

ours = []

def recorded(make):
    def made():
        lock, frame = make(), sys._getframe(1)
        while frame.f_globals["__name__"] in ("threading", "logging") and frame.f_back is not None:
            frame = frame.f_back
        if frame.f_globals["__name__"].startswith("tasks_app."):
            ours.append((f"{frame.f_globals['__name__']}:{frame.f_lineno}", lock))
        return lock
    return made

threading.Lock, threading.RLock = recorded(threading.Lock), recorded(threading.RLock)

import django
django.setup()
from pathlib import Path
import tasks_app
for module in pkgutil.walk_packages(tasks_app.__path__, "tasks_app."):
    import_module(module.name)
from tasks_app.broker import notification
from tasks_app.handlers.handlers_toml import Defaults, load
from tasks_app.metrics import local_counters
from tasks_app.node.wiring import wire
from tasks_app.runner.process_engine import ProcessEngine

home = Path(sys.argv[1])
handlers = load(home / "handlers.toml", Defaults())
node = wire(handlers, lambda *_: ProcessEngine(), home=home, order="fifo")
node.start()
notification.notify("x" * 300)  # too long for a queue: it is counted at once
faulthandler.enable()

def hold(lock, held, over):
    got = lock.acquire(timeout=1.0)
    held.set()  # by this thread, or by one that keeps it
    over.wait()
    if got:
        lock.release()

def forked():
    child = os.fork()
    if not child:
        os._exit(1 if sum(local_counters.notifications().values()) else 0)
    until = time.monotonic() + 20.0
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGABRT)  # it says where it waits
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(ended[1])

for where, lock in list(ours):
    held, over = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold, args=[lock, held, over])
    holder.start()
    held.wait()
    code = forked()
    over.set()
    holder.join()
    print(where, code, flush=True)
    if code:
        break
os._exit(0)
"""
#: Whose locks hooks might want.
SOME = {"broker.notification", "db.sqlite.write_lock", "logs", "metrics.local_counters", "node.in_flight",
        "runner.pool", "runner.reactor"}  # fmt: skip


def test_no_hook_of_a_fork_waits_for_a_lock_of_the_platforms(tmp_path: Path) -> None:
    (tmp_path / "handlers.toml").write_text('[handlers.cat]\ncommand = ["cat"]\n')
    environment = {
        "PATH": "/usr/bin:/bin", "DAEMON_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings",
    }  # fmt: skip
    words = [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path)]
    ended = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    codes = dict(line.rsplit(" ", 1) for line in ended.stdout.splitlines())
    assert set(codes.values()) == {"0"}, f"{ended.stdout[-200:]}{ended.stderr[-3000:]}"
    assert {f"tasks_app.{name}" for name in SOME} <= {where.split(":")[0] for where in codes}, codes
