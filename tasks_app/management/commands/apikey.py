"""`manage.py apikey create NAME | list | revoke NAME`: keys of the API."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import conf
from tasks_app.keys import api_keys
from tasks_app.models import ApiKey


class Command(BaseCommand):
    """Prints only the key to standard output, so that `KEY=$(manage.py apikey create ci)` works; texts go to stderr."""

    help = "Create, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="create a key and show it, once")
        create.add_argument("name", help="a name for it")
        verbs.add_parser("list", help="list all keys with their first characters and last use")
        revoke = verbs.add_parser("revoke", help="refuse a key from now on")
        revoke.add_argument("name", help="its name, or its first characters (as in the list)")

    def handle(self, *args: Any, verb: str, name: str = "", **options: Any) -> None:
        """Run one subcommand."""
        if verb == "create":
            self._create(name)
        elif verb == "list":
            self._list()
        else:
            self._revoke(name)

    def _revoke(self, name: str) -> None:
        try:
            found = api_keys.revoke(name)
        except api_keys.KeyRefused as error:
            raise CommandError(str(error)) from None
        if not found:
            raise CommandError(
                f"no valid key has the name or the first characters {name!r}; see: manage.py apikey list"
            )
        self.stderr.write("Revoked: refused within two seconds.")

    def _create(self, name: str) -> None:
        first = not ApiKey.objects.exists()
        try:
            self.stdout.write(api_keys.create(name))
        except api_keys.KeyRefused as error:
            raise CommandError(str(error)) from None
        self.stderr.write("It is shown only once. Send it as  Authorization: Bearer KEY")
        if first and conf.environment().auth == "keys":
            self.stderr.write("From now on every call needs a key, from this machine too.")

    def _list(self) -> None:
        rows: list[tuple[str, ...]] = [("NAME", "BEGINS", "CREATED", "USED", "REVOKED")]
        for key in ApiKey.objects.order_by("created_at"):
            moments = (key.created_at, key.last_used_at, key.revoked_at)
            rows.append((key.name, f"{key.prefix}...", *(f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in moments)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
