"""API keys are made and revoked: a key is shown once, and stored as a hash."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from django.core.management.base import CommandError
from django.db import IntegrityError
from django.db.models import Q
from django.db.models.functions import Now

from tasks_app.conf import Environment
from tasks_app.conf.weak_secrets import KEY_MARK, key_fault, new_signing_secret
from tasks_app.keys.caller import PREFIX_CHARACTERS, Grant, digest
from tasks_app.keys.models import ApiKey
from tasks_app.queue.current import writing

#: The name of the key that the environment has, and its variable.
NAME = "DAEMON_API_KEY"
EVERYTHING = Grant()


class KeyRefused(Exception):
    """A key cannot have this name, this text or this grant; the message says why."""


def create(name: str, grant: Grant = EVERYTHING) -> str:
    """Make a key and return it; only its hash is stored. Raises KeyRefused."""
    return _store(name, f"{KEY_MARK}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}", grant)


def ensure(name: str, key: str) -> bool:
    """Store a given key unless it was stored before, even if it has been revoked. Returns whether it was new.

    Raises KeyRefused if it can be guessed.
    """
    if fault := key_fault(key):
        raise KeyRefused(fault)
    if ApiKey.objects.filter(digest=digest(key)).exists():
        return False
    _store(name, key, EVERYTHING)
    return True


def _store(name: str, key: str, grant: Grant) -> str:
    if not name or name != name.strip() or len(name) > 100 or not name.isprintable() or name.startswith(KEY_MARK):
        raise KeyRefused(
            f"a key's name has 1 to 100 printable characters, no blank at either end and no {KEY_MARK} at the beginning"
        )
    if fault := grant.fault():
        raise KeyRefused(fault)
    try:
        with writing():
            ApiKey.objects.create(
                name=name, prefix=key[:PREFIX_CHARACTERS], digest=digest(key), scopes=_stored(grant.scopes),
                types=_stored(grant.types), rate=grant.rate, expires_at=grant.expires_at, created_at=Now(),
            )  # fmt: skip
    except IntegrityError:
        raise KeyRefused(f"there is a key named {name!r}; revoke it first, or choose another name") from None
    return key


def _stored(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else sorted(set(words))


def new_callback_secret(name: str) -> str:
    """Give the key in force with this name a secret, which signs the callbacks of its tasks, and return it.

    An earlier one signs nothing any more. Raises KeyRefused.
    """
    secret = new_signing_secret()
    with writing():
        if not ApiKey.objects.filter(name=name, revoked_at=None).update(callback_secret=secret):
            raise KeyRefused(f"no key in force is named {name!r}")
    return secret


def revoke(which: str) -> str | None:
    """Revoke the key with this name or prefix. Returns its name; None if there is no such key in force.

    Raises KeyRefused if several keys have the prefix.
    """
    keys = ApiKey.objects.filter(Q(name=which) | Q(prefix=which), revoked_at=None).values_list("pk", "name")
    if len(keys) > 1:
        raise KeyRefused(f"{len(keys)} keys in force begin with this; revoke by name")
    return next((str(name) for pk, name in keys if revoke_key(pk)), None)


def revoke_key(pk: int) -> bool:
    """Revoke this key; False if it is revoked already."""
    with writing():
        return ApiKey.objects.filter(pk=pk, revoked_at=None).update(revoked_at=Now()) == 1


def store_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    if not env.api_key:
        return False
    try:
        return ensure(NAME, env.api_key)
    except KeyRefused as error:
        raise CommandError(f"{NAME}: {error}", returncode=2) from None
