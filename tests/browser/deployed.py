"""A deployment with something on every page of its admin, all of it by real acts."""

from __future__ import annotations

import base64
import json
import shlex
import time

from testkit.daemon import ACTOR, Daemon
from testkit.process import until

PASSWORD = "a good password"
TASKS = "/admin/tasks_app/task/"
#: Markup, a terminal's colour, a mark that turns the direction of writing, an escaped NUL, and a word without an end.
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31mred \u202egnp.exe \\u0000 " + "w" * 500
#: Ten megabytes less the reply around them.
LARGE = 10 * 1024 * 1024 - 100


#: Variables by which a callback may go to a port of this machine where nothing listens.
CALLBACKS = {
    "DAEMON_CALLBACK_SECRETS": f"whsec_{base64.b64encode(bytes(range(32))).decode()}",
    "DAEMON_CALLBACK_HOSTS": "127.0.0.1",
}


def deployed(daemon: Daemon) -> Daemon:
    """`up`, with handlers that act, speak, hold hostile text, and do not start."""
    for name in ("act", "held"):
        daemon.handler(name)
    hostile, speaker = ACTOR.with_name("hostile.py"), ACTOR.with_name("speaker.py")
    said = shlex.quote("<script>alert(3)</script> \x1b[31m\u202e no engine")
    commands = {
        "hostile": ["python", str(hostile)],
        "speak": ["python", str(speaker)],
        "broken": ["sh", "-c", f"printf %s {said} >&2; exit 3"],
    }
    with daemon.config.open("a") as file:
        for name, command in commands.items():
            file.write(
                f"[handlers.{name}]\ncommand = {json.dumps(command)}\ninstances = 1\nmax_retries = 0\ntimeout = 3600\n"
            )
    daemon.manage("up").until_says(r"^  ready ")
    return daemon


def task_of_each_kind(daemon: Daemon) -> dict[str, str]:
    """Ids of a task of each kind: failed, hostile, large, completed, later, running, waiting (its type is paused)."""
    assert daemon.http.post("/api/handlers/held/pause", json={}).status_code == 200
    timed = {"type": "held", "cron": "*/5 * * * *", "timezone": "Europe/Berlin", "data": {"text": HOSTILE}}
    assert daemon.http.put("/api/schedules/timed", json=timed).status_code == 201
    assert daemon.http.post("/api/schedules/timed/run").status_code == 200
    paused = time.monotonic()
    made = {
        "failed": daemon.post("act", {"do": "crash", "code": 3}),
        "hostile": _queue(daemon, "hostile", {"text": HOSTILE}, metadata={HOSTILE: HOSTILE}, tags=["flow"]),
        "large": daemon.post("hostile", {"text": HOSTILE, "do": "result", "size": LARGE}),
        "completed": daemon.post("act", {"do": "print"}),
        "told": _queue(daemon, "act", {}, callback_url="http://127.0.0.1:1/hook"),
        "later": _queue(daemon, "act", {}, delay=86400, unique_key="<b>once</b>"),
        "running": daemon.post("speak", {"lines": 1_000_000, "pause": 0.2}),
    }
    for name in ("failed", "hostile", "large", "completed", "told"):
        daemon.until_final(made[name])
    answer = daemon.http.post("/api/tasks/redrive", json={"filter": {"type": "act", "status": "failed"}, "rate": 0.01})
    assert answer.status_code == 202, answer.text
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_failure_group WHERE handler = 'hostile'"), what="the groups")
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_callback WHERE tries > 0"), what="a callback that failed")
    # Tasks may start for as long after a pause.
    time.sleep(max(0.0, 2.1 - (time.monotonic() - paused)))
    return made | {"waiting": daemon.post("held")}


def _queue(daemon: Daemon, task_type: str, data: dict[str, object], **more: object) -> str:
    answer = daemon.http.post("/queue", json={"type": task_type, "data": data, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])
