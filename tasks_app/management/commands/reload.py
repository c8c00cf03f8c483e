"""`manage.py reload [--handler NAME]`: every process reads its handlers.toml again, and says what it uses."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.audit import acting, record, system_account
from tasks_app.handlers.words import did_you_mean
from tasks_app.logs import harmless
from tasks_app.metrics.system_reading import known_dead, living, living_processes
from tasks_app.queue.node_models import Node, WebProcess
from tasks_app.queue.reloads import Process, ask_reload

#: Processes read each second what is asked; a removal takes a node two more.
ANSWER_SECONDS = 20.0
POLL_SECONDS = 0.2


class Command(BaseCommand):
    """It needs only the database: each process reads the file where it runs."""

    #: None: also if the file is wrong on this machine. The processes say what they make of theirs.
    requires_system_checks: tuple[str, ...] = ()
    help = (
        "Let every web server and worker read its handlers.toml again. Exits with 1 if one of them cannot use it, or "
        f"not all of it after {ANSWER_SECONDS:g} s."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--handler", metavar="NAME", help="also replace the containers of this handler, each after its task"
        )

    def handle(self, *args: Any, handler: str | None, **options: Any) -> None:
        """Waits until every living process uses what it has read, and prints the revision of each."""
        served = sorted({name for node in living() for name in node.pools})
        if handler is not None and handler not in served:
            have = ", ".join(served) or "nothing"
            meant = did_you_mean(handler, served)
            raise CommandError(f"no living worker serves {handler}; they serve {have}{meant}", returncode=2)
        actor = system_account()
        with acting(actor, handler or "handlers.toml"):
            number = ask_reload(handler)
            record(actor, "reload", handler or "handlers.toml")
        processes = self._answers(number)
        if not processes:
            self.stdout.write("no process lives: each reads handlers.toml when it starts")
        faults = [self._say(each, number) for each in processes]
        if any(faults):
            sys.exit(1)

    def _answers(self, number: int) -> list[Process]:
        until = time.monotonic() + ANSWER_SECONDS
        seen: dict[str, Process] = {}
        while True:
            lives = {str(each): each for each in living_processes(living())}
            # One that stands still does not live for long, and has not ended.
            seen = {name: each for name, each in (seen | lives).items() if name in lives or not _ended(each)}
            if not any(_is_awaited(each, number) for each in seen.values()) or time.monotonic() > until:
                return list(seen.values())
            time.sleep(POLL_SECONDS)

    def _say(self, process: Process, number: int) -> bool:
        """Print what a process uses. Returns whether something is wrong."""
        used = process.used
        fault = used.fault
        if used.reload < number and fault is None:
            fault = f"it has not answered for {ANSWER_SECONDS:g} s; see its log"
        elif fault is None:
            fault = used.waits_for
        self.stdout.write(harmless(f"{process}: {used.revision}{f': {fault}' if fault else ''}"))
        return fault is not None


def _is_awaited(process: Process, number: int) -> bool:
    """Whether a process has not answered the reload with this number, or does not use all of what it has read."""
    used = process.used
    return used.reload < number or (used.fault is None and used.waits_for is not None)


def _ended(process: Process) -> bool:
    """Whether a process that lived has ended, as far as its row or its lock file says so."""
    if process.kind == "web":
        return not WebProcess.objects.filter(pk=process.name).exists()
    node = Node.objects.filter(pk=process.name, stopped_at=None).first()
    return node is None or known_dead(node)
