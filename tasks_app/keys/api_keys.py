"""API keys: shown once, stored as hashes; and the keys in force, read at most once a second."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import structlog
from django.core.management.base import CommandError
from django.db import Error, IntegrityError, OperationalError
from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from tasks_app.conf import Environment
from tasks_app.conf.weak_secrets import KEY_MARK, MAX_KEY_CHARACTERS, key_fault
from tasks_app.keys.caller import Caller, Grant
from tasks_app.keys.models import ApiKey
from tasks_app.keys.rate import KeyRate
from tasks_app.queue.clock import Now
from tasks_app.queue.current import writing

log = structlog.get_logger(__name__)

#: The characters of a key that are stored in clear, for look-up and lists.
PREFIX_CHARACTERS = len(KEY_MARK) + 8
#: A revoked key is refused at most this much later.
MAX_READING_AGE_SECONDS = 1.0
#: Between two writes of a key's last use.
USE_INTERVAL_SECONDS = 60.0
#: How long a thread waits for another one's first reading.
FIRST_READING_TIMEOUT_SECONDS = 2.0

EVERYTHING = Grant()


class KeyRefused(Exception):
    """A key cannot have this name, this text or this grant; the message says why."""


def digest(key: str) -> str:
    """The hash that is stored. It needs no salt: a key has 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


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
                name=name,
                prefix=key[:PREFIX_CHARACTERS],
                digest=digest(key),
                scopes=_stored(grant.scopes),
                types=_stored(grant.types),
                rate=grant.rate,
                expires_at=grant.expires_at,
                created_at=Now(),
            )
    except IntegrityError:
        raise KeyRefused(f"there is a key named {name!r}; revoke it first, or choose another name") from None
    return key


def _stored(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else sorted(set(words))


def revoke(which: str) -> str | None:
    """Revoke the key with this name or prefix. Returns its name; None if there is no such key in force.

    Raises KeyRefused if several keys have the prefix.
    """
    found = ApiKey.objects.filter(Q(name=which) | Q(prefix=which), revoked_at=None).values_list("pk", "name")
    if len(found) > 1:
        raise KeyRefused(f"{len(found)} keys in force begin with this; revoke by name")
    return next((str(name) for pk, name in found if revoke_key(pk)), None)


def revoke_key(pk: int) -> bool:
    """Revoke this key; False if it is revoked already."""
    with writing():
        return ApiKey.objects.filter(pk=pk, revoked_at=None).update(revoked_at=Now()) == 1


class StoredKey(NamedTuple):
    """A key that is not revoked: its hash, its id and its caller."""

    digest: str
    identity: int
    caller: Caller


@dataclass(frozen=True)
class KeyReading:
    """The keys that are not revoked, by prefix, and whether any key was ever made. `rows`: what was read for it."""

    in_force: Mapping[str, tuple[StoredKey, ...]] = field(default_factory=dict)
    any_made: bool = False
    rows: Sequence[tuple[Any, ...]] = ()


class Keys:
    """The keys in force as this process last read them. Thread-safe."""

    def __init__(self) -> None:
        self._last: KeyReading | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()
        self._used_at: dict[int, float] = {}
        self._unwritten: set[int] = set()
        #: Of each key that has a rate. They outlive a reading.
        self._rates: dict[int, KeyRate] = {}

    def current(self) -> KeyReading:
        """The keys as they were at most a second ago, or longer ago while the database is unavailable.

        One thread reads, and meanwhile the others use the last reading. Raises DatabaseError if there is none yet.
        """
        last = self._last
        if last is not None:
            if time.monotonic() - self._read_at < MAX_READING_AGE_SECONDS or not self._reading.acquire(blocking=False):
                return last
        elif not self._reading.acquire(timeout=FIRST_READING_TIMEOUT_SECONDS):
            raise OperationalError(f"the database has not answered for {FIRST_READING_TIMEOUT_SECONDS:g} s")
        try:
            if last is None and self._last is not None:
                return self._last  # another thread read them while this one waited
            self._last = last = _read(last, self._rates)
        except Error as error:
            if last is None:
                raise
            # The last reading stays in use; a request that needs the database fails by itself.
            log.debug("the keys could not be read again", error=str(error))
        finally:
            self._read_at = time.monotonic()
            self._reading.release()
        return last

    def cached(self) -> KeyReading | None:
        """The last reading; None if a new one is due and no thread is making it. Sends no query."""
        if time.monotonic() - self._read_at < MAX_READING_AGE_SECONDS or self._reading.locked():
            return self._last
        return None

    def match(self, key: str, reading: KeyReading | None = None) -> Caller | None:
        """The caller with this key; None if it is no key that is in force. Uses `reading` if it is given.

        Records the use, unless the key has expired.
        """
        if len(key) > MAX_KEY_CHARACTERS or not key.isascii():
            return None
        given = digest(key)
        for stored, identity, caller in (reading or self.current()).in_force.get(key[:PREFIX_CHARACTERS], ()):
            if hmac.compare_digest(given, stored):
                if caller.expires_at is None or not caller.expired:
                    self._record_use(identity)
                return caller
        return None

    def _record_use(self, identity: int) -> None:
        now = time.monotonic()
        if now - self._used_at.get(identity, -USE_INTERVAL_SECONDS) >= USE_INTERVAL_SECONDS:
            self._used_at[identity] = now
            self._unwritten.add(identity)

    def write_uses(self) -> None:
        """Save when keys were used, unless another process did within the last minute. Not for a request's thread."""
        if not (uses := set(self._unwritten)):
            return
        before = timezone.now() - timedelta(seconds=USE_INTERVAL_SECONDS)
        old = Q(last_used_at__isnull=True) | Q(last_used_at__lt=before)
        with writing():
            ApiKey.objects.filter(old, pk__in=uses).update(last_used_at=Now())
        self._unwritten -= uses


def _read(last: KeyReading | None, rates: dict[int, KeyRate]) -> KeyReading:
    """Read the keys; `last` if none has changed. `rates`: of the last reading, kept by keys with the same rate."""
    # Plain values, and JSON as text: this is done each second, usually for nothing, and there may be thousands.
    limits = (Cast(name, TextField()) for name in ("scopes", "types"))
    found = ApiKey.objects.filter(revoked_at=None).order_by("pk")
    rows = list(found.values_list("prefix", "digest", "pk", "rate", "expires_at", "name", *limits))
    if last is not None and rows and rows == last.rows:
        return last
    in_force: dict[str, tuple[StoredKey, ...]] = {}
    ids = set()
    for prefix, hashed, pk, rate, expires_at, name, scopes, types in rows:
        if rate is not None:
            ids.add(pk)
            if pk not in rates or rates[pk].rate != rate:
                rates[pk] = KeyRate(rate)
        caller = Caller(pk, _words(scopes), _words(types), rates.get(pk), expires_at, name)
        in_force[prefix] = (*in_force.get(prefix, ()), StoredKey(hashed, pk, caller))
    for gone in rates.keys() - ids:
        del rates[gone]
    return KeyReading(in_force, bool(in_force) or ApiKey.objects.exists(), rows)


def _words(stored: str | None) -> frozenset[str] | None:
    words = json.loads(stored or "null")
    return None if words is None else frozenset(words)


keys = Keys()


# DAEMON_API_KEY, the API key of the environment: stored when the deployment starts.

#: The name of the key.
NAME = "DAEMON_API_KEY"


def store_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    if not env.api_key:
        return False
    try:
        return ensure(NAME, env.api_key)
    except KeyRefused as error:
        raise CommandError(f"{NAME}: {error}", returncode=2) from None
