"""API keys: their table, what a key allows, and how a key is made and revoked. A key is shown once, and stored as a
hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from django.db import IntegrityError, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from tasks_app.conf.weak_secrets import KEY_MARK, key_fault, new_signing_secret
from tasks_app.queue.current import writing

MAX_TYPES = 100
#: Tasks a second.
MIN_RATE, MAX_RATE = 0.001, 1_000_000.0
#: The characters of a key that are stored in clear, for look-up and lists.
PREFIX_CHARACTERS = len(KEY_MARK) + 8
_TYPE = re.compile(r"[A-Za-z0-9_-]{1,100}")


class ApiKey(models.Model):
    """An API key, stored as a hash. A revoked key keeps its row."""

    name = models.CharField(max_length=100)
    #: The first characters of the key, for look-up and lists.
    prefix = models.CharField(max_length=12, db_index=True)
    #: SHA-256 of the whole key, as hex digits.
    digest = models.CharField(max_length=64, unique=True)
    #: The scopes and types that it allows, see `Grant`. Null: no limit.
    scopes = models.JSONField(null=True)
    types = models.JSONField(null=True)
    #: Tasks a second.
    rate = models.FloatField(null=True)
    #: The secret by which callbacks of the key's tasks are signed (`whsec_...`), as it is: a hash could not sign. Null:
    #: the deployment's secrets sign. No page and no call shows it.
    callback_secret = models.TextField(null=True)  # noqa: DJ001
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    #: Precise to the minute.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "taskdaemon_api_key"
        verbose_name = "API key"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("name",), name="api_key_name_once", condition=Q(revoked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"


# What a key allows.


class Scope(StrEnum):
    """A part of the API."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    OPERATE = "operate"
    METRICS_READ = "metrics:read"


#: What each scope is for, in a few words.
SCOPE_TEXTS = {
    Scope.TASKS_READ: "read tasks, attempts and handlers",
    Scope.TASKS_WRITE: "post, cancel, delete and redrive tasks",
    Scope.OPERATE: "what operators do to many tasks, or to a handler",
    Scope.METRICS_READ: "read /metrics and /api/metrics",
}


@dataclass(frozen=True)
class Grant:
    """The rights of a key. None: every scope, every type, for ever, at any rate.

    `types`: the only task types that it can see and post. `rate`: tasks a second that it may post.
    """

    scopes: Sequence[str] | None = None
    types: Sequence[str] | None = None
    expires_at: datetime | None = None
    rate: float | None = None

    def limits(self) -> dict[str, Any]:
        """Its limits as JSON values, without the limits that it lacks."""
        expires = None if self.expires_at is None else self.expires_at.isoformat()
        limits = {"scopes": self.scopes, "types": self.types, "expires_at": expires, "rate": self.rate}
        return {name: value for name, value in limits.items() if value is not None}

    def fault(self) -> str | None:
        """Why no key can have this grant, or None."""
        for scope in self.scopes or ():
            if scope not in list(Scope):
                return f"there is no scope {scope!r}; the scopes are {', '.join(Scope)}"
        if self.scopes is not None and not self.scopes:
            return f"a key needs a scope: {', '.join(Scope)}"
        if self.types is not None and not 1 <= len(self.types) <= MAX_TYPES:
            return f"a key may have 1 to {MAX_TYPES} types, or none for all"
        for name in self.types or ():
            if not _TYPE.fullmatch(name):
                return f"a type is the name of a handler, not {name!r}"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "the expiry must be in the future"
        if self.rate is not None and not MIN_RATE <= self.rate <= MAX_RATE:
            return f"the rate must be {MIN_RATE:g} to {MAX_RATE:,.0f} tasks a second"
        return None


EVERYTHING = Grant()


# Made and revoked.


def digest(key: str) -> str:
    """The hash that is stored. It needs no salt: a key has 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


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

    An earlier secret signs nothing any more. Raises KeyRefused.
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
