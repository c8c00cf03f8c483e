"""python -m tests.chaos.reloads: a node takes over new handlers again and again while it works off a backlog.

Each reload changes, breaks, mends, removes or brings back handlers at random; two are never changed in what their
containers depend on. In the end all are whole, and every promise is checked in the rows of the attempts. Needs a
deployment of its own (DAEMON_HOME, perhaps DATABASE_URL), whose tables it makes.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import django
from django.core.management import call_command

from tasks_app.handlers.handlers_toml import Handler

if TYPE_CHECKING:
    from tasks_app.node.node import Node
    from tasks_app.runner.pool import Pool

#: Answers at once, and names the task: so it works over every transport.
ANSWERS = """
import json, sys
for line in sys.stdin:
    reply = {"status": "success", "result": 1, "task_id": json.loads(line)["task_id"]}
    print(json.dumps(reply), flush=True)
"""
IMAGE = "taskdaemon-test/python:1"
#: Never changed in what their containers depend on: only in their time-out, retries and selection.
STEADY = "steady"
#: How long a reload waits at most for its share of the tasks: those of removed and broken handlers cannot run.
LONGEST_STEP_SECONDS = 1.0
#: On an overloaded machine a handler that cannot start finds that out late.
READY_AFTER_SECONDS = 10.0


class Span(NamedTuple):
    """A time in which each attempt of a type that begins must be of this revision; None: in which none may begin."""

    name: str
    revision: str | bool | None
    begin: datetime
    end: datetime


class Reloads:
    """The handlers as they are now, and what has been seen of the node."""

    def __init__(self, seed: int, containers: bool) -> None:
        self.random = random.Random(seed)
        self.whole: dict[str, Handler] = {name: _process(name) for name in (STEADY, "one", "two", "three")}
        if containers:
            self.whole |= {name: _container(name) for name in (f"{STEADY}-image", "image")}
        self.now = dict(self.whole)
        self.acts: Counter[str] = Counter()
        self.steady: dict[str, set[str]] = {}
        self.spans: list[Span] = []
        #: Since when each type is of one revision, or closed.
        self._since: dict[str, tuple[str | bool | None, datetime]] = {}
        self._versions = 0

    def change(self) -> list[str]:
        """Change some handlers at random. Returns those whose containers are to be replaced besides."""
        replaced = []
        for name in self.random.sample(sorted(self.whole), self.random.randint(1, len(self.whole))):
            act = self.random.choice(("limits", "version", "break", "remove", "replace", "instances", "whole"))
            if name.startswith(STEADY):
                act = "limits"
            elif act == "replace":
                replaced.append(name)
            self.acts[act] += 1
            self._act(act, name)
        return replaced

    def _act(self, act: str, name: str) -> None:
        handler, change = self.now.get(name, self.whole[name]), dataclasses.replace
        pick = self.random.choice
        self._versions += 1
        if act == "limits":
            self.now[name] = change(
                handler, timeout=pick((20.0, 30.0)), max_retries=pick((2, 3)), handler_selection=pick(SELECTIONS)
            )
        elif act == "version":
            self.now[name] = change(self.whole[name], env={"VERSION": str(self._versions)})
        elif act == "break":
            self.now[name] = change(handler, command=(*handler.command[:-1], "import nope"))  # type: ignore[index]
        elif act == "instances":
            self.now[name] = change(handler, instances=self.random.randint(1, 4))
        elif act == "whole":
            self.now[name] = self.whole[name]
        elif act == "remove":
            self.now.pop(name, None)

    def look(self, node: Node) -> None:
        """Note the containers that must stay, and which types are of one revision by now, or closed."""
        for name, pool in node.reload.pools.items():
            if name.startswith(STEADY):
                self.steady.setdefault(name, _containers(pool))
                assert _containers(pool) == self.steady[name], f"{name} has other containers: {pool}"
            revision = _only_revision(pool)
            if name not in self._since and revision is not False:
                self._since[name] = (revision, datetime.now(UTC))

    def close_spans(self) -> None:
        """The next reload is about to come."""
        moment = datetime.now(UTC)
        self.spans += [Span(name, revision, since, moment) for name, (revision, since) in self._since.items()]
        self._since.clear()


SELECTIONS = ("round-robin", "random", "first-available")


def _process(name: str) -> Handler:
    command = (sys.executable, "-S", "-E", "-c", ANSWERS)
    return Handler(name=name, command=command, instances=2, max_retries=3, retry_backoff=0.0)


def _container(name: str) -> Handler:
    return dataclasses.replace(_process(name), command=("python3", "-S", "-E", "-c", ANSWERS), image=IMAGE)


def _containers(pool: Pool) -> set[str]:
    return {slot.container.id for slot in pool.slots if slot.container is not None}


def _only_revision(pool: Pool) -> str | bool | None:
    """The revision that all containers of a pool have; None: it has no slots and no containers; False: neither."""
    with pool._lock:
        leaving = [slot for slot in pool._leaving if not slot.join(0.0)]
    if leaving or any(slot.is_old or slot.container is None for slot in pool.slots):
        return False
    ids = {pool.revision.id(slot.container.image) for slot in pool.slots if slot.container is not None}
    return ids.pop() if len(ids) == 1 else False if ids else None


def main() -> None:
    """Run it, and print what there was; the exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--containers", action="store_true", help="handlers with an image too (docker)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    asked = parser.parse_args()
    django.setup()
    call_command("migrate", verbosity=0)
    found = run(asked.reloads, asked.tasks, asked.containers, asked.seed)
    print(f"seed {asked.seed}", *found, sep="\n  ", flush=True)
    sys.exit(1 if found else 0)


def run(reloads: int, tasks: int, containers: bool, seed: int) -> list[str]:
    """What was broken, in sentences."""
    from tasks_app import conf
    from tasks_app.node.record import deployment_id
    from tasks_app.node.wiring import wire
    from tasks_app.queue.models import Attempt
    from tasks_app.queue.submission import NewTask
    from tasks_app.queue.submit import submit_many
    from tasks_app.runner.engine import Owner
    from tasks_app.runner.engines import EngineByHandler

    state, home = Reloads(seed, containers), conf.environment().home
    names = sorted(state.whole)
    for first in range(0, tasks, 500):
        submit_many([NewTask(names[n % len(names)], {"n": n}) for n in range(first, min(first + 500, tasks))])
    node = wire(
        state.whole, lambda name, domain: EngineByHandler(Owner(deployment_id(), name, domain, home)),
        home=home, order="fifo", ready_after=READY_AFTER_SECONDS,
    )  # fmt: skip
    node.start()
    _until(lambda: all(pool.free() or pool.stats().busy for pool in node.reload.pools.values()), 60.0, "a start")
    state.look(node)
    began = time.monotonic()
    for number in range(reloads):
        due, share = time.monotonic() + LONGEST_STEP_SECONDS, tasks * number // reloads
        while time.monotonic() < due and Attempt.objects.count() < share:
            state.look(node)
            time.sleep(0.02)
        state.close_spans()
        replaced = state.change()
        node.serve(state.now)
        node.replace(replaced)
    state.close_spans()
    node.serve(state.whole)
    _until(lambda: _final() == tasks, 120.0 + tasks / 50, lambda: f"{_final()} of {tasks} tasks are final")
    seconds = time.monotonic() - began
    state.look(node)
    state.close_spans()
    print(f"{reloads} reloads in {seconds:.0f} s, {tasks / seconds:.0f} tasks/s: {dict(state.acts)}", flush=True)
    node.drain(10.0)
    return _broken(state, tasks)


def _final() -> int:
    from tasks_app.queue.models import Task

    return Task.objects.exclude(status__in=("pending", "processing")).count()


def _until(true: Any, seconds: float, what: Any) -> None:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(what() if callable(what) else what)
        time.sleep(0.05)


def _broken(state: Reloads, tasks: int) -> list[str]:
    from tasks_app.queue.models import Attempt, Task

    outcomes = Counter(Attempt.objects.values_list("outcome", flat=True))
    found = []
    if outcomes != {"success": tasks}:
        found.append(f"attempts ended otherwise than with success: {dict(outcomes)}")
        found += [f"{row.outcome}: {row.error[:200]}" for row in Attempt.objects.exclude(outcome="success")[:5]]
    if (lost := Task.objects.exclude(status="completed").count()) or Task.objects.count() != tasks:
        found.append(f"{lost} tasks are not completed")
    ran: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
    for row in Attempt.objects.select_related("task").only("task__task_type", "started_at", "revision", "container"):
        ran[row.task.task_type].append((row.started_at, str(row.revision), row.container))
    for name, revision, begin, end in state.spans:
        wrong = [each for each in ran[name] if begin < each[0] < end and each[1] != revision]
        if wrong:
            found.append(f"{name} ran {wrong[0]} while all its containers were of {revision} ({begin} to {end})")
    for name, containers in state.steady.items():
        if more := {container for _, _, container in ran[name]} - containers:
            found.append(f"{name} ran in containers of which it had none: {more}")
    revisions = {revision for attempts in ran.values() for _, revision, _ in attempts}
    print(f"{len(state.spans)} spans of one revision; {len(revisions)} revisions ran")
    return found


if __name__ == "__main__":
    main()
