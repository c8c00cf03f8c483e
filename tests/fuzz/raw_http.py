"""Attacks a running server on raw sockets: requests one behind the other, in pieces, cut off, and spoilt by chance.

    python -m tests.fuzz.raw_http --minutes 30 --port 8080

Prints a table. The exit status is 1 if it saw a 5xx, an answer that is neither empty nor JSON, or a hang, also of the
valid requests that another thread makes meanwhile. It queues tasks on that server.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.attacks import Attack, by_chance
from tests.web.answers import answers_of

#: Longer silence counts as a hang. It exceeds the server's timeouts for headers and bodies.
HANG_SECONDS = 25.0
_HTML = re.compile(rb"<!doctype html|<html|traceback", re.IGNORECASE)
#: Below this every failure is a page.
_ADMIN, _TRACEBACK = re.compile(rb" /+admin\b"), re.compile(rb"traceback", re.IGNORECASE)


@dataclass
class Outcome:
    """The results of a run."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    good: int = 0
    slowest_good: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)
            print("FAULT", text[:600], flush=True)


def exchange(host: str, port: int, attack: Attack, r: random.Random) -> tuple[bytes, bool]:
    """The bytes that came back, and True if the server was silent for too long."""
    with socket.create_connection((host, port), timeout=HANG_SECONDS) as connection:
        raw = b""
        try:
            for part in attack.parts:
                connection.sendall(part)
                if len(attack.parts) > 1:
                    time.sleep(r.random() * 0.05)
            if not attack.complete:
                if r.random() < 0.1:  # sometimes check that the server closes the connection
                    pass
                elif r.random() < 0.5:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                    return raw, False
                else:
                    connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(1 << 16):
                raw += data
        except TimeoutError:
            return raw, True
        except OSError:  # the server reset the connection
            pass
        return raw, False


def check(attack: Attack, raw: bytes, hung: bool, outcome: Outcome) -> None:
    shown = f"{attack.name}: sent {b''.join(attack.parts)[:300]!r}, got {raw[:300]!r}"
    if hung:
        outcome.fault(f"hang: {shown}")
    page = _ADMIN.search(b"".join(attack.parts)) is not None
    if (_TRACEBACK if page else _HTML).search(raw):
        outcome.fault(f"html: {shown}")
    answers = answers_of(raw)
    for status, body in answers:
        with outcome.lock:
            outcome.statuses[str(status)] += 1
        if status == 0 or status >= 500:
            outcome.fault(f"status {status}: {shown}")
        if status >= 400 and body and not page:
            try:
                assert "error" in json.loads(body)
            except (ValueError, AssertionError):
                outcome.fault(f"no JSON: {shown}")
    if attack.answers and raw and len(answers) != attack.answers:
        outcome.fault(f"{len(answers)} answers instead of {attack.answers}: {shown}")


def attacker(host: str, port: int, until: float, seed: int, outcome: Outcome) -> None:
    r = random.Random(seed)
    while time.monotonic() < until:
        attack = by_chance(r)
        with outcome.lock:
            outcome.sent[attack.name] += 1
        try:
            raw, hung = exchange(host, port, attack, r)
        except OSError as error:
            outcome.fault(f"cannot connect: {error}")
            time.sleep(1)
            continue
        check(attack, raw, hung, outcome)


def good_client(host: str, port: int, until: float, outcome: Outcome) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            raw, hung = exchange(host, port, Attack("the good client", [request], 1), random.Random(0))
        except OSError as error:
            outcome.fault(f"the good client cannot connect: {error}")
            continue
        outcome.good += 1
        outcome.slowest_good = max(outcome.slowest_good, time.monotonic() - begun)
        if hung or not raw.startswith(b"HTTP/1.1 200 "):
            outcome.fault(f"the good client was not served: {raw[:200]!r}")
        time.sleep(0.1)


def fuzz(host: str, port: int, seconds: float, clients: int = 16, seed: int = 0) -> Outcome:
    """Attack a server for so many seconds."""
    outcome, until = Outcome(), time.monotonic() + seconds
    threads = [threading.Thread(target=good_client, args=(host, port, until, outcome))]
    threads += [
        threading.Thread(target=attacker, args=(host, port, until, seed * 1000 + n, outcome)) for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.minutes:g} minutes, {given.clients} clients", flush=True)
    outcome = fuzz(given.host, given.port, given.minutes * 60, given.clients, given.seed)
    print(f"sent      {sum(outcome.sent.values())}: {dict(outcome.sent.most_common())}")
    print(f"answers   {dict(sorted(outcome.statuses.items()))} (without a body: the server's own, to what is not HTTP)")
    print(f"meanwhile {outcome.good} good requests, the slowest in {outcome.slowest_good:.2f} s")
    print(f"faults    {len(outcome.faults)}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
