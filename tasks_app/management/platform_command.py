"""A command that starts a part of the platform."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, SystemCheckError


class PlatformCommand(BaseCommand):
    """Stops a bad start with exit code 2, every fault at once."""

    requires_system_checks: tuple[str, ...] = ("tasks_app",)

    def check(self, *args: Any, **options: Any) -> None:
        """As Django's, but for the exit code."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise
