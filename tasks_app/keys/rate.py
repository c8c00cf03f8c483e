"""The rate of an API key: on this host, in the headers that tell it to callers, and shared among hosts."""

from __future__ import annotations

import fcntl
import math
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from tasks_app.db.node_lock import boot_id


class Balance(NamedTuple):
    """The content of a bucket. `left`: whole tokens. `seconds`: until it is full; if no token is left, until there is
    one."""

    left: int
    seconds: int

    @classmethod
    def of(cls, tokens: float, rate: float) -> Balance:
        """The balance of a bucket with so many tokens, which is filled at `rate` tokens a second."""
        left = max(math.floor(tokens), 0)
        return cls(left, max(math.ceil(((capacity(rate) if left else 1.0) - tokens) / rate), 0))


def capacity(rate: float) -> float:
    """The size of a bucket in tokens: the tokens of a second, and at least one.

    A refused caller waits whole seconds. Unless a token takes a whole number of seconds, or a second brings a whole
    number of tokens, the bucket has room for one token and those of a second: otherwise a caller that waits as told
    would get less than the rate.
    """
    period = max(rate, 1 / rate)
    return max(rate, 1.0) if math.isclose(period, round(period)) else rate + 1.0


class TokenBucket:
    """Limits a rate in this process: `rate` tasks a second, with bursts of one second's tasks at most. Full or empty at
    first. Thread-safe."""

    def __init__(self, full: bool = True) -> None:
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._filled_at = None if full else time.monotonic()

    def take(self, rate: float, count: int = 1, may_wait: bool = True) -> bool:
        """Take `count` tokens; False if there is not even one. The balance may go negative, so that a batch is not
        split. It never waits."""
        with self._lock:
            self._fill(rate)
            if self._tokens < 1.0:
                return False
            self._tokens -= count
            return True

    def release(self, count: int = 1) -> None:
        """Give back tokens that were taken for tasks which were refused for another reason."""
        with self._lock:
            self._tokens += count

    def balance(self, rate: float) -> Balance:
        """The balance now."""
        with self._lock:
            self._fill(rate)
            return Balance.of(self._tokens, rate)

    def _fill(self, rate: float) -> None:
        now = time.monotonic()
        filled_at, self._filled_at = self._filled_at, now
        full = capacity(rate)
        self._tokens = full if filled_at is None else min(self._tokens + (now - filled_at) * rate, full)


class FileBusy(Exception):
    """The file of buckets cannot be used for a while."""


class FileTaken(Exception):
    """Another process has the file of buckets at this moment."""


class BucketFile:
    """The buckets of a host: a file in DAEMON_HOME, which its web processes share. Thread-safe.

    A key's record is at its id: the boot in which it was written, its tokens, and when it was filled, on the kernel's
    monotonic clock, which all processes of a host share. The file is sparse.
    """

    _RECORD = struct.Struct("=36sdd")
    #: For how long the file is left alone after it could not be used.
    _BUSY_SECONDS = 1.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = boot_id().encode()[:36].ljust(36)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._busy_until = 0.0

    @contextmanager
    def tokens(self, key: int, rate: float) -> Iterator[list[float]]:
        """The tokens of a key, in a list with one number, which may be changed. Does not wait: raises FileBusy or
        FileTaken."""
        with self._lock:
            descriptor = self._locked()
            try:
                now = time.monotonic()
                held = [self._filled(os.pread(descriptor, self._RECORD.size, self._at(key)), rate, now)]
                yield held
                os.pwrite(descriptor, self._RECORD.pack(self._boot, held[0], now), self._at(key))
            except OSError as error:
                self.leave_alone()
                raise FileBusy from error
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def read(self, key: int, rate: float) -> float:
        """The tokens of a key. Takes no lock, since the number is only shown. Raises FileBusy."""
        try:
            record = os.pread(self._opened(), self._RECORD.size, self._at(key))
        except OSError as error:
            raise FileBusy from error
        return self._filled(record, rate, time.monotonic())

    def leave_alone(self) -> None:
        """Raise FileBusy for a while."""
        self._busy_until = time.monotonic() + self._BUSY_SECONDS

    def _at(self, key: int) -> int:
        return key * self._RECORD.size

    def _filled(self, record: bytes, rate: float, now: float) -> float:
        """The tokens of a record and those accrued since; a full bucket if the record is not of this boot."""
        if len(record) == self._RECORD.size:
            boot, tokens, filled_at = self._RECORD.unpack(record)
            if boot == self._boot and math.isfinite(tokens) and filled_at <= now:
                return float(min(tokens + (now - filled_at) * rate, capacity(rate)))
        return capacity(rate)

    def _opened(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def _locked(self) -> int:
        if time.monotonic() < self._busy_until:
            raise FileBusy
        try:
            descriptor = self._opened()
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileTaken from error
        except OSError as error:
            self.leave_alone()
            raise FileBusy from error
        return descriptor


#: A process takes so many seconds' worth of tokens at a time from its host's bucket, and at least one token.
LOT_SECONDS = 0.05
#: An empty bucket is looked at again after so many seconds: the host's share may have grown.
MAX_EMPTY_SECONDS = 1.0
#: How often a thread that may wait tries to take from a file that another process has, and its pause between two tries.
#: A process that is stopped while it has the file must not stop this one.
TRIES, PAUSE_SECONDS = 20, 0.001


class HostBucket:
    """As TokenBucket, shared by all web processes of a host; while its file cannot be used, a bucket of this
    process."""

    def __init__(self, file: BucketFile, key: int) -> None:
        self._file, self._key = file, key
        self._lock = threading.Lock()
        self._lot = 0.0
        self._rate = 1.0
        #: Until then no token can have accrued: a caller that is refused again and again does not lock the file each
        #: time.
        self._empty_until = 0.0
        self._alone = TokenBucket(full=False)

    def take(self, rate: float, count: int = 1, may_wait: bool = True) -> bool:
        """As `TokenBucket.take`. Unless it may wait, also False if another process has the file at this moment."""
        for _ in range(TRIES if may_wait else 1):
            with suppress(FileTaken), self._lock:
                return self._taken(rate, count)
            if may_wait:
                time.sleep(PAUSE_SECONDS)
        if not may_wait:
            return False
        self._file.leave_alone()
        return self._alone.take(rate, count)

    def _taken(self, rate: float, count: int) -> bool:
        self._rate = rate
        if self._lot >= count:
            self._lot -= count
            return True
        if time.monotonic() < self._empty_until:
            return False
        try:
            with self._file.tokens(self._key, rate) as held:
                if (short := 1.0 - self._lot - held[0]) > 0:
                    self._empty_until = time.monotonic() + min(short / rate, MAX_EMPTY_SECONDS)
                    return False
                missing = count - self._lot
                held[0] -= missing
                self._lot = float(max(min(math.floor(held[0]), math.floor(rate * LOT_SECONDS - missing)), 0))
                held[0] -= self._lot
            return True
        except FileBusy:
            return self._alone.take(rate, count)

    def release(self, count: int = 1) -> None:
        with self._lock:
            try:
                with self._file.tokens(self._key, self._rate) as held:
                    held[0] += count
                self._empty_until = 0.0
            except (FileBusy, FileTaken):
                self._lot += count

    def balance(self, rate: float) -> Balance:
        try:
            return Balance.of(self._lot + self._file.read(self._key, rate), rate)
        except FileBusy:
            return self._alone.balance(rate)


#: A rate is shown as tasks in a number of seconds, up to this one.
MAX_WINDOW_SECONDS = 3600


class KeyRate:
    """How many tasks a second an API key may post to this host. Thread-safe.

    `rate`: the key's rate. `share`: the part of it that this host may accept now, and `hosts`: how many hosts share it
    (`Shares` sets both). `asked`: for how many tasks it was asked, with the refused ones. Its headers have the syntax
    of draft-ietf-httpapi-ratelimit-headers. They have one policy, the key's.
    """

    def __init__(self, rate: float, bucket: TokenBucket | HostBucket, hosts: int = 1) -> None:
        self.rate, self.hosts = rate, hosts
        self.share = rate / hosts
        self.asked = 0
        self._bucket = bucket
        quota = Fraction(rate).limit_denominator(MAX_WINDOW_SECONDS)
        self._policy = f'"key";q={quota.numerator};w={quota.denominator};qu="tasks"'

    def take(self, count: int, may_wait: bool = True) -> bool:
        """Take `count` tasks; False if the rate is exceeded. A batch is not refused because of its size.

        On an event loop it may not wait. Then False does not mean that the rate is exceeded: ask again on a thread.
        """
        self.asked += count
        return self._bucket.take(self.share, count, may_wait)

    def release(self, count: int) -> None:
        """Give back tasks that were taken, and refused for another reason."""
        self.asked -= count
        self._bucket.release(count)

    def headers(self) -> dict[str, str]:
        """The headers of an answer to a post."""
        balance = self._balance()
        return {"RateLimit": f'"key";r={balance.left};t={balance.seconds}', "RateLimit-Policy": self._policy}

    def retry_after(self) -> int:
        """Seconds until the next task is accepted; if some quota is left, until it is complete."""
        return max(self._balance().seconds, 1)

    def _balance(self) -> Balance:
        """The balance as if this host had at least an equal share: it gets such a share soon after callers ask it."""
        balance = self._bucket.balance(self.share)
        equal = self.rate / self.hosts
        if self.share >= equal:
            return balance
        return Balance(balance.left, math.ceil(balance.seconds * self.share / equal))


# How the hosts of web servers share the rates: a host gets the part of a key's rate that callers asked of it lately.
#
# Each web process writes once a second into its row how fast callers asked it for tasks by each key that has a rate,
# and reads the others' rows. The hosts share a tenth of each rate evenly, so that a caller can begin on any of them,
# and the rest by what was asked of each. A caller that uses one host has nine tenths of its rate or more within
# seconds, and one that uses all hosts has its rate in all. A POST sends no statement for this.

#: Old requests count less with time: after so many seconds, or so many tasks at the key's rate, 1/e of them.
MEMORY_SECONDS, MEMORY_TASKS = 2.0, 3.0
#: The part of a rate that all hosts share evenly.
EVEN_PART = 0.1


class Shares:
    """The tasks asked of this process, and the shares of its host. For one thread, except `hosts`."""

    def __init__(self) -> None:
        #: How many hosts share the rates: this host, and each on which another process is known to live.
        self.hosts = 1
        #: For each key: how many tasks had been asked for until the last beat, and the tasks asked for per second
        #: lately.
        self._asked: dict[int, int] = {}
        self._lately: dict[int, float] = {}

    def note(self, rates: Mapping[int, KeyRate], passed: float) -> Mapping[int, float]:
        """The tasks asked of this process lately: tasks a second, by key. `passed`: seconds since the last call."""
        lately = {}
        for key, rate in rates.items():
            kept = math.exp(-passed / max(MEMORY_SECONDS, MEMORY_TASKS / rate.rate))
            grown = max(rate.asked - self._asked.get(key, 0), 0)
            self._asked[key] = rate.asked
            speed = 0.0 if math.isinf(passed) else grown / passed
            lately[key] = min(self._lately.get(key, 0.0) * kept + speed * (1 - kept), rate.rate)
        self._lately = {key: value for key, value in lately.items() if value > rates[key].rate / 1000}
        return self._lately

    def divide(
        self, rates: Mapping[int, KeyRate], domain: str, others: Iterable[tuple[str, Mapping[str, float]]]
    ) -> None:
        """Set the shares of `rates`. `domain`: this host. `others`: the other processes that live, each with its host
        and the tasks a second asked of it, by key."""
        asked = {domain: dict(self._lately)}
        for other, lately in others:
            of_host = asked.setdefault(other, {})  # also if no task was asked of it
            for name, value in lately.items():
                of_host[int(name)] = of_host.get(int(name), 0.0) + value
        self.hosts = len(asked)
        for key, rate in rates.items():
            rate.hosts = self.hosts
            by_host = {host: min(of_host.get(key, 0.0), rate.rate) for host, of_host in asked.items()}
            rate.share = rate.rate * share(domain, by_host)


def share(host: str, asked: Mapping[str, float]) -> float:
    """The part of a key's rate that a host gets. `asked`: the tasks a second asked of each host lately."""
    even = 1 / len(asked)
    total = sum(asked.values())
    return even if total == 0 else EVEN_PART * even + (1 - EVEN_PART) * asked[host] / total
