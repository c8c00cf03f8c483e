"""The caller of a request, its address and its rights: the keys in force, and the callers admitted with them."""

from __future__ import annotations

import hmac
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

import structlog
from django.db import Error, OperationalError
from django.db.models import BooleanField, ExpressionWrapper, Q, TextField
from django.db.models.functions import Cast, Now
from django.utils import timezone

from tasks_app import conf
from tasks_app.conf import LOOPBACK, Environment
from tasks_app.conf.weak_secrets import MAX_KEY_CHARACTERS
from tasks_app.keys.api_keys import PREFIX_CHARACTERS, ApiKey, Scope, digest
from tasks_app.keys.rate import BucketFile, HostBucket, KeyRate, Shares
from tasks_app.logs import LogOnce
from tasks_app.queue.current import writing

log = structlog.get_logger(__name__)

#: A revoked key is refused at most this much later.
MAX_READING_AGE_SECONDS = 1.0
#: Between two writes of a key's last use.
USE_INTERVAL_SECONDS = 60.0
#: How long a thread waits for another thread's first reading.
FIRST_READING_TIMEOUT_SECONDS = 2.0

HOW_TO_CREATE = f"{conf.ours('apikey')} create NAME makes one"
NO_KEY_EXISTS = f"no API key has been made yet, and without one other machines and proxies are refused: {HOW_TO_CREATE}"
KEY_REQUIRED = f"this needs an API key: send it as Authorization: Bearer KEY ({HOW_TO_CREATE})"
NOT_BEARER = "the Authorization header must be: Bearer KEY"
UNKNOWN_KEY = "this API key is unknown or revoked"


class Unauthorized(Exception):
    """The request has no sufficient key; the message says why."""


class Forbidden(Exception):
    """The caller's key does not allow the call; the message says what it lacks."""


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """What a caller may do. None: no limit.

    `key`: the id of its API key; None if none is required, or for the supervisor. `types`: the only types of tasks that
    exist for it. `rate`: how fast it may post. `expires_at`: when its key ends. `name`: the key's, for the audit log.
    `signer`: `key` if that key has its own secret to sign the callbacks of its tasks; None: the deployment's secrets
    sign.
    """

    key: int | None = None
    scopes: frozenset[str] | None = None
    types: frozenset[str] | None = None
    rate: KeyRate | None = None
    expires_at: datetime | None = None
    name: str = "(no API key)"
    signer: int | None = None

    @property
    def expired(self) -> bool:
        """Whether its key has ended, by this machine's clock."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def may(self, scope: Scope) -> bool:
        return self.scopes is None or scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise Forbidden without this scope."""
        if not self.may(scope):
            raise Forbidden(f"this API key lacks the scope {scope}")

    def knows(self, task_type: str) -> bool:
        """Whether it may see and post tasks of this type."""
        return self.types is None or task_type in self.types

    def may_post(self, task_type: str) -> bool:
        """Whether it may post a task of this type."""
        if self.scopes is None and self.types is None:  # checked first, for the fast path asks at each post
            return True
        return self.may(Scope.TASKS_WRITE) and self.knows(task_type)


#: The caller of a request that needs no key.
ANYONE = Caller()


class KeyReading(NamedTuple):
    """The keys that are not revoked, by prefix: the hash, the id and the caller of each; and whether any key was ever
    made. `rows`: the rows from which it was made."""

    in_force: Mapping[str, Sequence[tuple[str, int, Caller]]]
    any_made: bool
    rows: Sequence[tuple[Any, ...]]


class Keys:
    """The keys in force as this process last read them, by which requests are admitted. Thread-safe."""

    def __init__(self) -> None:
        self._last: KeyReading | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()
        self._used_at: dict[int, float] = {}
        self._unwritten: set[int] = set()
        #: The rate of each key that has a rate. The objects outlive a reading.
        self._rates: dict[int, KeyRate] = {}
        self._buckets: BucketFile | None = None
        #: The shares of the hosts in the rates.
        self.shares = Shares()
        self._log_once = LogOnce()

    def due(self, env: Environment) -> bool:
        """True if `admit` with `may_query=False` admits nobody before the keys are read anew."""
        return env.auth != "off" and self.cached() is None

    def renew(self, env: Environment) -> None:
        """Read the keys if that is due. Raises DatabaseError if there has been no reading yet."""
        if env.auth != "off":
            self.current()

    def admit(self, env: Environment, header: str | None, *, direct: bool, may_query: bool = True) -> Caller:
        """Admit a request by its Authorization header, None if it has none. `direct`: no proxy forwarded it.

        Keys are required beyond loopback, of what a proxy forwards, and everywhere once a first key was made, even if
        it was revoked. With DAEMON_AUTH=off they are never required. Returns what the caller may do:
        everything if no key is required, and for the supervisor. Raises Unauthorized, also for a key that has expired
        meanwhile, and DatabaseError if the keys cannot be read. With `may_query=False` it sends no query, and raises
        Unauthorized if the keys have to be read.
        """
        if env.auth == "off":
            return ANYONE
        known = self.current() if may_query else self.cached()
        if known is None:
            raise Unauthorized("the keys have to be read")
        if not known.any_made and direct and env.host in LOOPBACK:
            return ANYONE
        if header is None:
            if known.any_made:
                raise Unauthorized(KEY_REQUIRED)
            if self._log_once.is_due():
                log.warning(NO_KEY_EXISTS)
            raise Unauthorized(NO_KEY_EXISTS)
        scheme, _, key = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(NOT_BEARER)
        key = key.strip()
        caller = self.match(key, known)
        if caller is None:
            if not _is_supervisor(key):
                raise Unauthorized(UNKNOWN_KEY)
            return ANYONE
        if caller.expires_at is not None and caller.expired:
            raise Unauthorized(f"this API key expired at {caller.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        return caller

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
            self._last = last = self._read(last)
        except Error as error:
            if last is None:
                raise
            # The last reading stays in use; a request that needs the database fails by itself.
            log.debug("the keys could not be read again", error=str(error))
        finally:
            self._read_at = time.monotonic()
            self._reading.release()
        return last

    def _read(self, last: KeyReading | None) -> KeyReading:
        """Read the keys; `last` if none has changed."""
        # Plain values, and JSON as text: this is done each second, usually for nothing, and there may be thousands.
        limits = (Cast(name, TextField()) for name in ("scopes", "types"))
        in_use = ApiKey.objects.filter(revoked_at=None).order_by("pk")
        has_secret = ExpressionWrapper(Q(callback_secret__isnull=False), BooleanField())
        rows = list(in_use.values_list("prefix", "digest", "pk", "rate", "expires_at", "name", has_secret, *limits))
        if last is not None and rows and rows == last.rows:
            return last
        in_force: dict[str, list[tuple[str, int, Caller]]] = {}
        self._keep_rates({pk: rate for _, _, pk, rate, *_ in rows if rate is not None})
        for prefix, hashed, pk, _, expires_at, name, signs, scopes, types in rows:
            rate, signer = self._rates.get(pk), pk if signs else None
            caller = Caller(pk, _words(scopes), _words(types), rate, expires_at, name, signer)
            in_force.setdefault(prefix, []).append((hashed, pk, caller))
        return KeyReading(in_force, bool(in_force) or ApiKey.objects.exists(), rows)

    def _keep_rates(self, rates: Mapping[int, float]) -> None:
        """Keep these rates, by key; an unchanged rate keeps its object."""
        self._buckets = self._buckets or BucketFile(conf.environment().home / "key-rates")
        for key, rate in rates.items():
            if key not in self._rates or self._rates[key].rate != rate:
                self._rates[key] = KeyRate(rate, HostBucket(self._buckets, key), self.shares.hosts)
        for gone in self._rates.keys() - rates.keys():
            del self._rates[gone]

    def cached(self) -> KeyReading | None:
        """The last reading; None if a new one is due and no thread is making it. Sends no query."""
        if time.monotonic() - self._read_at < MAX_READING_AGE_SECONDS or self._reading.locked():
            return self._last
        return None

    def match(self, key: str, reading: KeyReading) -> Caller | None:
        """The caller with this key; None if it is no key that was in force when it was read. Records the use, unless
        the key has expired."""
        if len(key) > MAX_KEY_CHARACTERS or not key.isascii():
            return None
        hashed = digest(key)
        for stored, identity, caller in reading.in_force.get(key[:PREFIX_CHARACTERS], ()):
            if hmac.compare_digest(hashed, stored):
                if caller.expires_at is None or not caller.expired:
                    self._record_use(identity)
                return caller
        return None

    def _record_use(self, identity: int) -> None:
        now = time.monotonic()
        if now - self._used_at.get(identity, -USE_INTERVAL_SECONDS) >= USE_INTERVAL_SECONDS:
            self._used_at[identity] = now
            self._unwritten.add(identity)

    def rates(self) -> dict[int, KeyRate]:
        """The rate of each key that has a rate, by the key's id."""
        return self._rates.copy()

    def write_uses(self) -> None:
        """Save when keys were used, unless another process has saved it within the last minute. Not for a request's
        thread."""
        if not (uses := set(self._unwritten)):
            return
        before = timezone.now() - timedelta(seconds=USE_INTERVAL_SECONDS)
        old = Q(last_used_at__isnull=True) | Q(last_used_at__lt=before)
        with writing():
            ApiKey.objects.filter(old, pk__in=uses).update(last_used_at=Now())
        self._unwritten -= uses


def _words(stored: str | None) -> frozenset[str] | None:
    words = json.loads(stored or "null")
    return None if words is None else frozenset(words)


def _is_supervisor(key: str) -> bool:
    """True for the key with which `manage.py up` calls its own web server. The database does not have it."""
    supervisor = os.environ.get("TASKDAEMON_UP_KEY_DIGEST", "")
    return bool(supervisor) and hmac.compare_digest(digest(key[:200]), supervisor)


keys = Keys()


# From where: through which proxies a request came. Only a trusted proxy names the address of its client
# (DAEMON_TRUSTED_PROXIES).

Address = IPv4Address | IPv6Address
#: The variable of a request: true if no proxy forwarded it. A request without the variable counts as forwarded.
DIRECT = "taskdaemon.direct"
#: A proxy adds one of these headers, and no client behind it can take it away. Some name no address: behind nginx with
#: DAEMON_TLS there may be `X-Forwarded-Proto` alone.
FORWARDING_HEADERS = frozenset(
    (
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip",
    )
)  # fmt: skip


def is_direct(env: Environment, peer: str, headers: Iterable[str]) -> bool:
    """Whether no proxy forwarded a request. `peer`: the other end of its connection. `headers`: their names, in lower
    case.

    A connection from a trusted proxy is never direct: otherwise a proxy on loopback would make everybody's requests
    this machine's. The headers are believed from anybody: they take rights away, and give none.
    """
    if not FORWARDING_HEADERS.isdisjoint(headers):
        return False
    return not env.proxies or not is_trusted(env, address_of(peer))


def client_address(env: Environment, peer: str, forwarded_for: str | None) -> str:
    """The address of a request's client. `forwarded_for`: its X-Forwarded-For, to which each proxy appends an address.

    The client's address is the last that is no trusted proxy's; if all are trusted proxies', the first. The addresses
    left of it came from the client, and may be made up. The search ends at a part that is no address.
    """
    address = address_of(peer)
    if address is None:
        return peer
    for part in reversed((forwarded_for or "").split(",")):
        if not is_trusted(env, address) or (before := address_of(_without_port(part.strip()))) is None:
            break
        address = before
    return str(address)


def is_trusted(env: Environment, address: Address | None) -> bool:
    """Whether this is a trusted proxy's address."""
    return address is not None and any(address in network for network in env.proxies)


def address_of(text: str) -> Address | None:
    """The address in a text; None if the text is no address."""
    try:
        # A client on the same link has the interface in its address, `fe80::1%4`: PostgreSQL stores no such address.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket of both families has IPv4 clients as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(text: str) -> str:
    """The address without its port: some proxies append the client's port, `10.0.0.1:4711`, `[fd00::1]:4711`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
