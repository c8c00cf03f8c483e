"""Callbacks to receivers of all kinds, while nodes and web servers are killed: each end is told at least once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from testkit.callback_receivers import SECRET, Receivers, callback_receivers, name_server, silent_server
from testkit.daemon import Daemon
from testkit.needs import need_mounts, program
from testkit.ports import free_port
from testkit.process import Process, until
from testkit.sizes import size

pytestmark = [pytest.mark.one_broker("rows: no notification sends a callback"), pytest.mark.timeout(1200)]

#: `DEAD`: hosts that take connections and never answer.
TASKS, DEAD, KILLS = size((300, 20, 1), large=(5000, 200, 4))
#: How many of each hundred tasks have a receiver of which kind.
SHARES = {
    "ok": 50,
    "error": 10,
    "later": 10,
    "gone": 5,
    "redirect": 5,
    "refuse": 4,
    "hang": 2,
    "name": 1,
    "silent_name": 1,
    "dead": 12,
}
#: What is told in the end, and what never is.
TOLD = ("ok", "error", "later", "hang", "name")
BATCH = 100


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with callback_receivers() as made:
        yield made


@pytest.fixture
def silent() -> Iterator[int]:
    with silent_server() as port:
        yield port


def batched(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]


class Hosts:
    """Where callbacks go, for so many tasks: some living hosts, and many dead ones."""

    def __init__(self, receivers: Receivers, silent: int, dead: int) -> None:
        self._receivers, self._silent, self._refusing = receivers, silent, free_port()
        self._kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        self.living = [f"127.0.1.{number}" for number in range(1, 11)]
        self.hanging = [f"127.0.2.{number}" for number in range(1, 21)]
        self.dead = [f"127.0.3.{number}" for number in range(1, dead + 1)]

    @property
    def allowed(self) -> str:
        return ",".join([*self.living, *self.hanging, *self.dead, ".living.test", ".hangs.test"])

    def kind(self, number: int) -> str:
        return self._kinds[number * 37 % len(self._kinds)]

    def url(self, number: int) -> str:
        kind = self.kind(number)
        # Which one of its kind it is, so that each host of the kind has its part.
        turn = number // len(self._kinds) * SHARES[kind] + number * 37 % len(self._kinds)
        if kind == "dead":
            return f"http://{self.dead[turn % len(self.dead)]}:{self._silent}/"
        if kind == "refuse":
            return f"http://{self.living[0]}:{self._refusing}/"
        if kind in ("name", "silent_name"):
            return self._receivers.url("ok", f"{turn % 10}.{'living' if kind == 'name' else 'hangs'}.test")
        hosts = self.hanging if kind == "hang" else self.living
        return self._receivers.url(kind, hosts[turn % len(hosts)])


def test_each_end_is_told_at_least_once_whatever_receivers_do_and_whoever_is_killed(
    deployment: Callable[..., Daemon],
    receivers: Receivers,
    silent: int,
) -> None:
    need_mounts("to give processes another resolv.conf")
    hosts = Hosts(receivers, silent, DEAD)
    daemon = deployment(
        DAEMON_CALLBACK_SECRETS=SECRET, DAEMON_CALLBACK_HOSTS=hosts.allowed, DAEMON_TESTING="true",
        DAEMON_CALLBACK_HURRY="100",
    )  # fmt: skip
    daemon.handler("act", instances=4)
    with name_server() as address:
        (daemon.home / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:10 attempts:2\n")
        web, nodes = daemon.web(), [worker(daemon), worker(daemon)]
        kinds: dict[str, str] = {}
        for part in range(KILLS + 1):
            numbers = range(part * TASKS // (KILLS + 1), (part + 1) * TASKS // (KILLS + 1))
            for some in batched(numbers, BATCH):
                body = [{"type": "act", "data": {}, "callback_url": hosts.url(number)} for number in some]
                answer = daemon.http.post("/queue/batch", json={"tasks": body})
                assert answer.status_code == 200, answer.text
                ids = answer.json()["task_ids"]
                kinds |= {UUID(task).hex: hosts.kind(number) for task, number in zip(ids, some, strict=True)}
            if part < KILLS:
                nodes.pop(0).kill()
                web.kill()
                web, nodes = daemon.web(), [*nodes, worker(daemon)]
        until(lambda: not waiting(daemon, kinds), 900.0, what=lambda: f"the end of {waiting(daemon, kinds)}")

    rows = deliveries(daemon)
    assert [row["task"] for row in rows] == sorted(kinds), "each end has one delivery"
    heard = {UUID(one.task).hex for one in list(receivers.heard)}
    assert {kinds[row["task"]] for row in rows if row["status"] == "delivered" and row["task"] not in heard} == set()
    assert {kind for task, kind in kinds.items() if kind in ("gone", "redirect") and task not in heard} == set()
    assert receivers.wrong == []
    ends = {(kinds[row["task"]], row["status"], row["last_status"]) for row in rows if kinds[row["task"]] in TOLD}
    assert ends == {(kind, "delivered", 200) for kind in TOLD}
    assert {row["last_status"] for row in rows if kinds[row["task"]] == "gone"} == {410}
    assert {row["last_status"] for row in rows if kinds[row["task"]] == "redirect"} == {308}
    assert {row["last_error"] for row in rows if kinds[row["task"]] == "refuse"} == {
        "no connection (Connection refused)"
    }


def worker(daemon: Daemon) -> Process:
    """A node whose names are looked up at the name server that hangs."""
    program("mount")
    other = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    inside = ("unshare", "-m", "sh", "-c", other, str(daemon.home / "resolv.conf"))
    made = Process(daemon.home, daemon.environment, "manage.py", "worker", inside=inside)
    made.until_says('"node started"|node started')
    return made


def deliveries(daemon: Daemon) -> list[dict[str, Any]]:
    """In the order of their tasks."""
    rows = daemon.rows("SELECT task, status, tries, last_status, last_error FROM taskdaemon_callback")
    return sorted(({**row, "task": UUID(str(row["task"])).hex} for row in rows), key=lambda row: str(row["task"]))


def waiting(daemon: Daemon, kinds: dict[str, str]) -> Counter[str]:
    """Of what kinds tasks are that are not told yet; of those that never are: not tried yet."""
    left = dict(kinds)
    for row in deliveries(daemon):
        if row["status"] != "pending" or (kinds[row["task"]] not in (*TOLD, "gone") and row["tries"]):
            del left[row["task"]]
    return Counter(left.values())
