"""`manage.py clean [--yes] [--broker]`: removes what ended deployments of this DAEMON_HOME have left."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tasks_app import conf
from tasks_app.management.starting import program
from tasks_app.node.leftovers import Kept, leftovers


class Command(BaseCommand):
    """It needs neither the database nor the engine: what it cannot look for it names."""

    requires_system_checks: tuple[str, ...] = ()
    help = (
        "Remove the containers and FIFOs that ended deployments of this DAEMON_HOME have left. Without --yes it only "
        "shows them. Exits with 1 if something could not be removed or looked for."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="remove it; without this option nothing is removed")
        parser.add_argument(
            "--broker", action="store_true", help="also the keys taskdaemon.ID* of these deployments on Redis"
        )

    def handle(self, *args: Any, yes: bool, broker: bool, **options: Any) -> None:
        """Print a line for each thing that is left, or that stays."""
        env = conf.environment()
        removable = faults = 0
        for each in leftovers(env.home, env.broker_url if broker else None):
            if isinstance(each, Kept):
                faults += each.fault
                self.stdout.write(f"{'fault' if each.fault else 'stays':10}{each.words}")
                continue
            removable += 1
            if not yes:
                self.stdout.write(f"left      {each.words}")
            elif (reason := each.remove()) is None:
                self.stdout.write(f"removed   {each.words}")
            else:
                faults += 1
                self.stdout.write(f"fault     {each.words} cannot be removed: {reason}")
        if not removable:
            self.stdout.write("nothing is left" if not faults else "nothing else is left")
        elif not yes:
            self.stdout.write(f"Nothing was removed. To remove what is left: {program()} clean --yes")
        sys.exit(1 if faults else 0)
