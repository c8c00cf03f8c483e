"""`manage.py help`: the platform's own commands first, each with what it does."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management import ManagementUtility, get_commands

from tasks_app import conf
from tasks_app.handlers.words import aligned

#: Those of Django that the documents tell people to use, with what they do here.
USED = {
    "changepassword": "Set the password of a user of the admin",
    "check": "Show what is wrong with the environment and handlers.toml, before anything starts",
}


class Manage(ManagementUtility):
    """Django's, with another list of commands, and the platform's version."""

    def execute(self) -> None:
        """Run the command."""
        if self.argv[1:] in (["version"], ["--version"]):
            sys.stdout.write(f"{conf.version()}\n")
        else:
            super().execute()

    def main_help_text(self, commands_only: bool = False) -> str:
        """The text of `help`; with `commands_only`, names for a shell that completes them."""
        if commands_only:
            return super().main_help_text(commands_only)
        apps: dict[str, Any] = get_commands()
        ours = (name for name, app in apps.items() if str(app).startswith("tasks_app"))
        shown = {name: _first_sentence(self.fetch_command(name).help) for name in ours} | USED
        lines = aligned(sorted(shown.items()))
        others = ", ".join(sorted(apps.keys() - shown.keys()))
        return "\n".join(
            [
                f"The platform's commands ({conf.ours('COMMAND')} --help says more of one):", "",
                *(f"  {line}" for line in lines), "",
                f"Those of Django and its libraries: {others}",
            ]
        )  # fmt: skip


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")
