"""API keys: made once, shown once, kept as hashes; and which of them are good, read at most once a second."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from django.db import DatabaseError, IntegrityError, OperationalError
from django.db.models import Q
from django.utils import timezone

from tasks_app.clock import Now
from tasks_app.models import ApiKey
from tasks_app.write_lock import writing

log = structlog.get_logger(__name__)

#: Every key begins with it, so that people and scanners for leaked secrets know one when they see it.
MARK = "tpk_"
#: Characters of a key that are kept as they are: by them it is looked up and told apart in lists.
PREFIX = len(MARK) + 8
#: Characters of the longest text that is looked at as a key.
LONGEST = 200
#: Seconds for which a reading of the keys is used: a revoked key is refused that much later at most.
FRESH = 1.0
#: Seconds between two notes of a key's use.
NOTED = 60.0
#: Seconds that one waits for the first reading, which another thread makes.
PATIENCE = 2.0


class BadName(Exception):
    """A name that no key can have now; the message says why."""


def digest(key: str) -> str:
    """What is kept of a key. A plain hash is enough: nobody guesses 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def create(name: str) -> str:
    """Make a key, which is answered once and kept nowhere. Raises BadName."""
    return _keep(name, f"{MARK}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}")


def ensure(name: str, key: str) -> bool:
    """Make a given key known, unless it is, or was and has been revoked. Answers whether it was new.

    Raises BadName for one that can be guessed.
    """
    random = key.removeprefix(MARK)
    if random == key or not 40 <= len(random) <= LONGEST - len(MARK) or not key.isascii() or len(set(random)) < 8:
        raise BadName(f"a key begins with {MARK} and has 40 to {LONGEST - len(MARK)} random characters after it")
    if ApiKey.objects.filter(digest=digest(key)).exists():
        return False
    _keep(name, key)
    return True


def _keep(name: str, key: str) -> str:
    if not name or name != name.strip() or len(name) > 100 or not name.isprintable() or name.startswith(MARK):
        raise BadName(f"a key's name has 1 to 100 printable characters, no blank at its ends and no {MARK} before them")
    try:
        with writing():
            ApiKey.objects.create(name=name, prefix=key[:PREFIX], digest=digest(key), created_at=Now())
    except IntegrityError:
        raise BadName(f"there is a key named {name!r}; revoke it first, or take another name") from None
    return key


def revoke(which: str) -> int:
    """Refuse a key from now on, by its name or prefix. Answers how many there were: 0 or 1.

    Raises BadName for a prefix that several have.
    """
    found = ApiKey.objects.filter(Q(name=which) | Q(prefix=which), revoked_at=None).values_list("pk", flat=True)
    if len(found) > 1:
        raise BadName(f"{len(found)} keys in force begin so; revoke by name")
    return sum(revoke_key(pk) for pk in found)


def revoke_key(pk: int) -> bool:
    """Refuse this key from now on. False if it is refused already."""
    with writing():
        return ApiKey.objects.filter(pk=pk, revoked_at=None).update(revoked_at=Now()) == 1


@dataclass(frozen=True)
class Known:
    """A reading: the good keys' ids and digests by prefix; whether there has ever been a key."""

    good: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    ever: bool = False


class Keys:
    """Which keys are good, for one process."""

    def __init__(self) -> None:
        self._known: Known | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()
        self._noted: dict[int, float] = {}
        self._unwritten: set[int] = set()

    def known(self) -> Known:
        """The keys as they were up to a second ago, or longer while the database is away.

        One thread reads, the others go by the last reading meanwhile. Raises DatabaseError if there is none.
        """
        last = self._known
        if last is not None:
            if time.monotonic() - self._read_at < FRESH or not self._reading.acquire(blocking=False):
                return last
        elif not self._reading.acquire(timeout=PATIENCE):
            raise OperationalError(f"the database has not answered for {PATIENCE:g} s")
        try:
            if last is None and self._known is not None:
                return self._known  # another thread has read them while this one waited
            self._known = last = _read()
        except DatabaseError as error:
            if last is None:
                raise
            # What needs the database says so itself; the door stays as open or closed as it was.
            log.debug("the keys could not be read anew", error=str(error))
        finally:
            self._read_at = time.monotonic()
            self._reading.release()
        return last

    def lately(self) -> Known | None:
        """The last reading, unless it is time for a new one that nobody makes yet. Asks no database."""
        if time.monotonic() - self._read_at < FRESH or self._reading.locked():
            return self._known
        return None

    def match(self, key: str, known: Known | None = None) -> int | None:
        """The id of a good key, whose use is noted; None for anything else. `known`: the reading to go by."""
        if len(key) > LONGEST or not key.isascii():
            return None
        given = digest(key)
        for identity, kept in (known or self.known()).good.get(key[:PREFIX], ()):
            if hmac.compare_digest(given, kept):
                self._note(identity)
                return identity
        return None

    def _note(self, identity: int) -> None:
        now = time.monotonic()
        if now - self._noted.get(identity, -NOTED) >= NOTED:
            self._noted[identity] = now
            self._unwritten.add(identity)

    def write_uses(self) -> None:
        """Write which keys were used, unless another process has within the minute. Not on a request's thread."""
        if not (uses := set(self._unwritten)):
            return
        before = timezone.now() - timedelta(seconds=NOTED)
        old = Q(last_used_at__isnull=True) | Q(last_used_at__lt=before)
        with writing():
            ApiKey.objects.filter(old, pk__in=uses).update(last_used_at=Now())
        self._unwritten -= uses


def _read() -> Known:
    good: dict[str, tuple[tuple[int, str], ...]] = {}
    for prefix, identity, kept in ApiKey.objects.filter(revoked_at=None).values_list("prefix", "id", "digest"):
        good[prefix] = (*good.get(prefix, ()), (identity, kept))
    return Known(good, bool(good) or ApiKey.objects.exists())


keys = Keys()
