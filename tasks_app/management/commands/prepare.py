"""`manage.py prepare`: run once before web servers and workers start, and after each upgrade."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command

from tasks_app import conf
from tasks_app.management.starting import PlatformCommand, create_environment_key, first_admin


class Command(PlatformCommand):
    """Safe to repeat, also while the platform runs."""

    help = (
        "Make the database ready, before the first start and after each upgrade. It migrates; creates the user admin "
        "with DAEMON_ADMIN_PASSWORD if there is no user; creates the API key DAEMON_API_KEY."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what it did, without secrets."""
        env = conf.environment()
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        if env.admin_password and first_admin(env.admin_password):
            self.stdout.write("Created the user admin, with the password of DAEMON_ADMIN_PASSWORD.")
        if create_environment_key(env):
            self.stdout.write("Created the key of DAEMON_API_KEY.")
