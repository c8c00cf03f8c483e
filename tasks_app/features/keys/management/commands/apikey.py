"""`manage.py apikey create NAME | secret NAME | list | revoke NAME`: keys of the API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tasks_app import conf
from tasks_app.audit import record, system_account
from tasks_app.features.keys.verbs import make
from tasks_app.handlers.words import aligned, did_you_mean, moment_of, utc_text
from tasks_app.keys import api_keys
from tasks_app.keys.api_keys import SCOPE_TEXTS, ApiKey, Grant
from tasks_app.queue.current import writing

#: What `--expires` takes.
EXPIRES = "a number of days, hours or minutes such as 90d, 12h or 30m, or a time such as 2026-01-31T09:00:00Z"
_SPAN = re.compile(r"(\d{1,5})([dhm])", re.ASCII)
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Command(BaseCommand):
    """Prints only what is secret to standard output, so that `KEY=$(manage.py apikey create ci)` works; texts go to
    stderr."""

    help = "Create, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="create a key and show it, once")
        create.add_argument("name", help="a name for it")
        scopes = "; ".join(f"{scope}: {text}" for scope, text in SCOPE_TEXTS.items())
        create.add_argument(
            "--scope",
            action="append",
            dest="scopes",
            metavar="SCOPE",
            help=f"what it allows; may be repeated; without it, everything. {scopes}",
        )
        create.add_argument(
            "--type",
            action="append",
            dest="types",
            metavar="TYPE",
            help="a task type that it is for; may be repeated; without it, all",
        )
        create.add_argument("--expires", metavar="WHEN", help=f"when it ends: {EXPIRES}")
        create.add_argument(
            "--rate", type=float, metavar="N", help="tasks a second that it may post, to all web servers together"
        )
        create.add_argument(
            "--callback-secret",
            action="store_true",
            help="with a secret of its own, which signs the callbacks of its tasks; printed on a second line",
        )
        secret = verbs.add_parser("secret", help="give a key a new secret, which signs the callbacks of its tasks")
        secret.add_argument("name", help="its name")
        verbs.add_parser("list", help="list all keys with their first characters and last use")
        revoke = verbs.add_parser("revoke", help="refuse a key from now on")
        revoke.add_argument("name", help="its name, or its first characters (as in the list)")

    def handle(self, *args: Any, verb: str, name: str = "", **options: Any) -> None:
        """Run one subcommand."""
        if verb == "create":
            grant = _grant(**{key: options[key] for key in ("scopes", "types", "expires", "rate")})
            self._create(name, grant, options["callback_secret"])
        elif verb == "secret":
            self._new_secret(name)
        elif verb == "list":
            self._list()
        else:
            self._revoke(name)

    def _revoke(self, name: str) -> None:
        try:
            with writing():
                revoked = api_keys.revoke(name)
                if revoked is not None:
                    record(system_account(), "revoke_key", revoked)
        except api_keys.KeyRefused as error:
            raise CommandError(str(error)) from None
        if revoked is None:
            raise CommandError(
                f"no valid key has the name or the first characters {name!r}; see: {conf.ours('apikey')} list"
            )
        self.stderr.write("Revoked: refused within two seconds.")

    def _new_secret(self, name: str) -> None:
        try:
            with writing():
                secret = api_keys.new_callback_secret(name)
                record(system_account(), "callback_secret", name)
        except api_keys.KeyRefused as error:
            raise CommandError(f"{error}; see: {conf.ours('apikey')} list") from None
        self.stdout.write(secret)
        self.stderr.write("It is shown only once. It signs the callbacks of the key's tasks; an earlier one no longer.")

    def _create(self, name: str, grant: Grant, signs: bool) -> None:
        first = not ApiKey.objects.exists()
        try:
            key, secret = make(system_account(), name, grant, signs)
        except api_keys.KeyRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(key)
        self.stderr.write("It is shown only once. Send it as  Authorization: Bearer KEY")
        if secret is not None:
            self.stdout.write(secret)
            self.stderr.write("So is this secret: it signs the callbacks of the key's tasks.")
        for unknown in [name for name in grant.types or () if name not in conf.handlers()]:
            end = did_you_mean(unknown, conf.handlers()) or "."
            self.stderr.write(f'No handler is named "{unknown}"{end}')
        if first and conf.environment().auth == "keys":
            self.stderr.write("From now on every call needs a key, from this machine too.")

    def _list(self) -> None:
        rows: list[tuple[str, ...]] = [
            ("NAME", "BEGINS", "SCOPES", "TYPES", "RATE", "SIGNS", "CREATED", "EXPIRES", "USED", "REVOKED")
        ]
        for key in ApiKey.objects.order_by("created_at"):
            moments = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
            grant = (_words(key.scopes), _words(key.types), "-" if key.rate is None else f"{key.rate:g}")
            signs = "-" if key.callback_secret is None else "callbacks"
            times = (utc_text(at, "minutes") if at else "-" for at in moments)
            rows.append((key.name, f"{key.prefix}...", *grant, signs, *times))
        for line in aligned(rows):
            self.stdout.write(line)


def _words(words: Sequence[str] | None) -> str:
    return "all" if words is None else ",".join(words)


def _grant(scopes: list[str] | None, types: list[str] | None, expires: str | None, rate: float | None) -> Grant:
    expires_at: datetime | None = None
    if expires is not None and (expires_at := _moment(expires)) is None:
        raise CommandError(f"--expires must be {EXPIRES}, not {expires!r}")
    return Grant(scopes, types, expires_at, rate)


def _moment(text: str) -> datetime | None:
    """The moment that a text means; None if it means none."""
    if (length := _SPAN.fullmatch(text)) is not None:
        return timezone.now() + timedelta(**{_UNITS[length[2]]: int(length[1])})
    return moment_of(text)
