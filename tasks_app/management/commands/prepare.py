"""`manage.py prepare`: what has to be done once before web servers and workers start, and after each upgrade."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from tasks_app import api_keys, conf
from tasks_app.management.first_admin import first_admin
from tasks_app.management.platform_command import PlatformCommand


class Command(PlatformCommand):
    """May be run any number of times, beside everything that runs."""

    help = (
        "Migrate the database; make the user admin with DAEMON_ADMIN_PASSWORD where there is no user yet; "
        "make the API key DAEMON_API_KEY known."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Says what it did, and no secret."""
        env = conf.environment()
        try:
            connection.ensure_connection()
        except OperationalError as error:
            raise CommandError(f"the database cannot be reached: {str(error).strip()}") from None
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        if env.admin_password and first_admin(env.admin_password):
            self.stdout.write("The user admin was made, with the password of DAEMON_ADMIN_PASSWORD.")
        if env.api_key:
            try:
                if api_keys.ensure("DAEMON_API_KEY", env.api_key):
                    self.stdout.write("The key of DAEMON_API_KEY is good from now on.")
            except api_keys.BadName as error:
                raise CommandError(f"DAEMON_API_KEY: {error}", returncode=2) from None
