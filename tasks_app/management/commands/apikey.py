"""`manage.py apikey create NAME | list | revoke NAME`: keys of the API."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app import api_keys, conf
from tasks_app.models import ApiKey


class Command(BaseCommand):
    """The key alone goes to standard output, so that `KEY=$(manage.py apikey create ci)` works; words go to stderr."""

    help = "Make, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a key and show it, once")
        create.add_argument("name", help="whom it is for")
        verbs.add_parser("list", help="all keys: their names, their beginnings, when they were used")
        revoke = verbs.add_parser("revoke", help="refuse a key from now on")
        revoke.add_argument("name", help="its name, or its beginning (as in the list)")

    def handle(self, *args: Any, verb: str, name: str = "", **options: Any) -> None:
        """One verb."""
        if verb == "create":
            self._create(name)
        elif verb == "list":
            self._list()
        else:
            self._revoke(name)

    def _revoke(self, name: str) -> None:
        try:
            found = api_keys.revoke(name)
        except api_keys.BadName as error:
            raise CommandError(str(error)) from None
        if not found:
            raise CommandError(f"no key in force has the name or the beginning {name!r}; see: manage.py apikey list")
        self.stderr.write("Revoked: refused within two seconds.")

    def _create(self, name: str) -> None:
        first = not ApiKey.objects.exists()
        try:
            self.stdout.write(api_keys.create(name))
        except api_keys.BadName as error:
            raise CommandError(str(error)) from None
        self.stderr.write("Shown this once. Send it as  Authorization: Bearer KEY")
        if first and conf.environment().auth == "keys":
            self.stderr.write("From now on every call needs a key, from this machine too.")

    def _list(self) -> None:
        rows: list[tuple[str, ...]] = [("NAME", "BEGINS", "MADE", "USED", "REVOKED")]
        for key in ApiKey.objects.order_by("created_at"):
            moments = (key.created_at, key.last_used_at, key.revoked_at)
            rows.append((key.name, f"{key.prefix}...", *(f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in moments)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
