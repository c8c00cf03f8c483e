"""What an operator does during the chaos: pauses a type and resumes it, drains a node and undrains it, and changes
handlers.toml and changes it back."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import httpx
import psycopg

from testkit.process import Process, until
from tests.chaos.fault import Fault, Throw
from tests.chaos.hold import Hold
from tests.chaos.limits import CHANGES as LIMIT_CHANGES
from tests.chaos.limits import changed
from tests.chaos.scene import TYPES, Scene

#: How long a call or a command is repeated while servers are away.
PATIENCE_SECONDS = 90.0
#: What becomes of the lines of a handler: a pattern, and what replaces it.
CHANGES = {
    "another environment": (r"^command", r'env = {CHANGED = "yes"}\ncommand'),
    "more slots": (r"^instances = \d", "instances = 5"),
    "fewer slots": (r"^instances = \d", "instances = 1"),
    "another selection": (r"^command", r'handler_selection = "random"\ncommand'),
    # Without a word: a stream has only lines that tasks made.
    "a command that does not start": (r"^command = .*", 'command = ["python3", "-c", "exit(1)"]'),
}
#: What a command says if its node has ended meanwhile.
ENDED = ("has ended", "was killed or is silent", "no node is named")


def of_operator(scene: Scene) -> list[Fault]:
    """One pause, one drain and one change of the file at a time."""

    def pause(throw: Throw) -> str:
        name = throw.chance.choice(TYPES)
        since = _call(scene, throw, f"/api/handlers/{name}/pause")
        throw.hold(throw.between(3, 8))
        over = time.time()
        _call(scene, throw, f"/api/handlers/{name}/resume")
        scene.holds.append(Hold("pause", name, since, over))
        return f"{name} for {over - since:.1f} s"

    def drain(throw: Throw) -> str:
        name = throw.chance.choice(_nodes(scene))
        since = _command(scene, "drain", name)
        if since is None:
            return f"{name} had ended"
        throw.hold(throw.between(3, 8))
        over = time.time()
        _command(scene, "undrain", name)
        scene.holds.append(Hold("drain", name, since, over))
        return f"{name} for {over - since:.1f} s"

    def reload(throw: Throw) -> str:
        name, change = throw.chance.choice(TYPES), throw.chance.choice(sorted(CHANGES))
        whole, (pattern, by) = scene.config.read_text(), CHANGES[change]
        head, table = whole.split(f"[handlers.{name}]\n")
        _replace(scene.config, f"{head}[handlers.{name}]\n{re.sub(pattern, by, table, count=1, flags=re.MULTILINE)}")
        throw.hold(throw.between(3, 8))
        _replace(scene.config, whole)
        return f"{change} of {name}"

    def limits(throw: Throw) -> str:
        change, whole = throw.chance.choice(LIMIT_CHANGES), scene.config.read_text()
        _replace(scene.config, changed(whole, change))
        throw.hold(throw.between(3, 10))
        _replace(scene.config, whole)
        return str(dict(change))

    return [
        Fault("operator.pause", "types", pause),
        Fault("operator.drain", "drained node", drain),
        Fault("operator.reload", "handlers.toml", reload),
        Fault("operator.limits", "handlers.toml", limits),
    ]


def _replace(file: Path, text: str) -> None:
    """As a whole: a node that starts must never read a part."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def _nodes(scene: Scene) -> list[str]:
    """The nodes that have not ended, as soon as the database says so and there is one."""

    def asked() -> list[str]:
        try:
            return sorted(scene.pools())
        except (psycopg.Error, sqlite3.Error):
            return []

    return until(asked, PATIENCE_SECONDS, "a node")


def _call(scene: Scene, throw: Throw, path: str) -> float:
    """Call until it is answered with 200. Returns when."""

    def answered() -> bool:
        try:
            return httpx.post(throw.chance.choice(scene.addresses) + path, timeout=30).status_code == 200
        except httpx.HTTPError:
            return False

    until(answered, PATIENCE_SECONDS, path)
    return time.time()


def _command(scene: Scene, verb: str, node: str) -> float | None:
    """Run a command until it succeeds. Returns when; None if the node has ended."""
    said: list[str] = []

    def done() -> bool:
        process = Process(scene.home, scene.environment(), "manage.py", verb, node)
        code = process.ends()
        said[:] = [process.said()]
        return code == 0 or any(words in said[0] for words in ENDED)

    until(done, PATIENCE_SECONDS, lambda: f"{verb} {node}: {said}")
    return None if any(words in said[0] for words in ENDED) else time.time()
