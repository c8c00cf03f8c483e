"""The port between a slot and whatever runs its container. Every engine passes tests/runner/test_engines.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks_app.runner.handlers import Handler

EXITED = 0
STDOUT = 1
STDERR = 2

DOUBT = "doubt"

Piece = tuple[int, bytes]
"""A stream's number and what came on it. No bytes: that stream has ended, EXITED: the container has."""


@dataclass(frozen=True)
class Ending:
    """How a container ended. `exit_code` is its own (128 + n after signal n); None if we had to kill it."""

    exit_code: int | None
    oom: bool = False


@dataclass(frozen=True)
class Owner:
    """Whose the containers of an engine are. What outlives its owner is recognised by the three words.

    `deployment` its id; `node` a name that no other node ever had; `domain` within which lock files tell
    the living nodes from the dead. `home`: a folder of its own on this machine, for what containers need there.
    """

    deployment: str
    node: str
    domain: str
    home: Path | None = None


IsGone = Callable[[str, str], bool]
"""Whether the node of this name and lock domain is certainly gone. Not to know is no."""


class Container(Protocol):
    """Something started from a handler that reads lines and answers them.

    1. One thread at a time uses it, but for `send` and `silent`, which the slot calls under its lock.
    2. It starts with all its pipes open. What it writes from its first instant on can be received.
    3. No call but `destroy` and a patient `residue` blocks.
    4. `send` passes bytes on in order, as many as fit now; `receive` hands them out in order, complete.
    5. stdout and stderr are never mixed up. Between the two the order may be lost.
    6. What it wrote before it ended is received before its end is told.
    7. It cannot outlive the process that started it, except by seconds.
    8. After `destroy` no process of it runs, and no descriptor of it is open. An engine that does not
       answer is asked again later: see Engine 4.
    """

    @property
    def id(self) -> str:
        """The name that an operator finds it by. Short; never changes."""

    @property
    def image(self) -> str:
        """The id (sha256:...) of the image that it is made of; "" if it has none."""

    def readers(self) -> Sequence[int]:
        """The descriptors to poll for reading, in the order in which they have to be received.

        9. One becomes readable whenever `receive` has something to tell.
        """

    def writer(self) -> int:
        """The descriptor to poll for writing while there is something left to send. May be a reader."""

    def receive(self, reader: int) -> Sequence[Piece]:
        """What waits at a readable descriptor. May be nothing. At most about 64 KiB at a time.

        10. The end of a stream is told again at every further call: stop polling that descriptor.
        """

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` were taken: 0 while it does not read. Raises OSError if it never will."""

    def silent(self) -> bool:
        """Whether nothing waits on stdout: neither bytes nor its end.

        11. What waits on stderr may be dropped: it belongs to no call. Over Docker it is.
        """

    def residue(self, patient: bool = True) -> str | None:
        """Why it must not be asked again although it has just answered well; None if nothing speaks against it.

        `leftover`: more processes than before its first call; `oom`: the kernel killed one for memory.
        Asked after every answer: takes microseconds, but in doubt up to 0.1 s. If not `patient` it does not wait,
        and answers DOUBT where it would have to: it is asked again, patiently, from a thread that has the time.
        12. Containers on an engine on this machine are looked into. Child processes and containers
            elsewhere are not: there `leftover` is never told, and `oom` at the container's end.
        """

    def destroy(self, grace: float = 0.0) -> Ending:
        """End it and all that it started, whatever it does about it; tell how it ended.

        With `grace` it closes its stdin and waits up to so many seconds that it ends by itself; then, or
        else at once, it kills. Takes at most `grace` + 10 s. A second call does nothing and tells the
        same. Never raises.
        """


class Engine(Protocol):
    """How containers come to be.

    1. Stateless to its callers: any number of pools, from any number of threads.
    2. A container belongs to the thread that starts it: that thread lives as long as it.
    3. A command that does not exist is Unavailable at the start, or a container that ends at once with exit
       code 126 or 127 and says why on stderr (Docker's own init does that).
    4. What could not be destroyed because an engine did not answer is destroyed when it does: by `sweep`.
    5. A handler that closes its stdout and lives on has ended. Docker's attach does not tell: over that its
       deadline ends it.
    """

    def refusal(self, handler: Handler) -> str | None:
        """Why this engine can never run the handler, in one sentence; None if it can. Does not block."""

    def start(self, handler: Handler, slot: int) -> Container:
        """A started container. Raises Unavailable, and then nothing is left behind. Takes at most 30 s.

        NotYet (an Unavailable): its image is on its way.
        """

    def sweep(self, is_gone: IsGone) -> int:
        """Remove what nodes that are gone left on this engine, and what 4. owes. Answers how much it was.

        What belongs to another deployment, or to nobody, is never touched. Raises Unavailable.
        """
