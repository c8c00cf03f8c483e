"""This platform as `manage.py up` runs it, for rows that post over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bench import handler
from bench.deployment import Deployment
from bench.http_load import Load, post
from bench.ours import SERVERS
from bench.system import BadRun
from testkit.process import Process

KINDS = (("sqlite", "local"), ("postgres", "redis"))


def kinds(wants: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    """Name, database and broker of each deployment whose name is wanted."""
    named = [(f"ours: {SERVERS[database]}, {SERVERS[broker]}", database, broker) for database, broker in KINDS]
    return [one for one in named if wants(one[0])]


class Served(Deployment):
    """The web server and one node with 8 warm child processes."""

    def up(self, limits: Sequence[str] = ()) -> Process:
        """Start `manage.py up` and wait until it answers and its slots are warm. `limits`: lines of handlers.toml."""
        self.stamp_handler(8, limits=limits)
        self.process = self.manage("up")
        self.process.until_says(r"^  ready ")
        self.warm(self.process)
        if limits:
            self.limited()
        return self.process

    def web(self) -> Process:
        """Start only the web server."""
        self.process = self.manage("web")
        self.until_answers(self.process)
        return self.process

    def post(self, count: int, rate: float | None = None, first: int = 0, connections: int = 16) -> Load:
        """Post one task a request. Raises BadRun unless every response is a 200 with its own id."""
        bodies = [json.dumps({"type": handler.NAME, "data": {"n": first + n}}).encode() for n in range(count)]
        dues = [n / rate for n in range(count)] if rate else None
        load = post(self.port, "/queue", bodies, connections, dues)
        if len({one.body["task_id"] for one in load.good()}) != count:
            raise BadRun("an id was returned twice")
        return load
