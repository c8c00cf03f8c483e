"""The base of the commands that start the platform."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, SystemCheckError


class PlatformCommand(BaseCommand):
    """Before it runs, reports all faults of the configuration at once; if there are any, exits with 2."""

    requires_system_checks: tuple[str, ...] = ("tasks_app",)

    def check(self, *args: Any, **options: Any) -> None:
        """Like Django's, with exit code 2."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise


def manage_py() -> str:
    """How a user runs manage.py from this folder: with a relative path of the interpreter if it is inside."""
    python = os.path.relpath(sys.executable)
    return f"{sys.executable if python.startswith('..') else python} manage.py"
