"""`manage.py prepare`: run once before web servers and workers start, and after each upgrade."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from tasks_app import conf
from tasks_app.management.starting import PlatformCommand, create_environment_key, first_admin


class Command(PlatformCommand):
    """Safe to repeat, also while the platform runs."""

    help = (
        "Migrate the database; create the user admin with DAEMON_ADMIN_PASSWORD if there is no user; "
        "create the API key DAEMON_API_KEY."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what it did, without secrets."""
        env = conf.environment()
        try:
            connection.ensure_connection()
        except OperationalError as error:
            raise CommandError(f"the database cannot be reached: {str(error).strip()}") from None
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        if env.admin_password and first_admin(env.admin_password):
            self.stdout.write("Created the user admin, with the password of DAEMON_ADMIN_PASSWORD.")
        if create_environment_key(env):
            self.stdout.write("Created the key of DAEMON_API_KEY.")
