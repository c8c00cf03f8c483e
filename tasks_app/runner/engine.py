"""The interface between a slot and what runs its container. Every engine passes tests/runner/test_engines.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import CallResult
from tasks_app.runner.endings import DeathReason, Undecided

EXITED = 0
STDOUT = 1
STDERR = 2

#: A stream's number and bytes from it. No bytes: the stream has ended; for EXITED: the container has.
Chunk = tuple[int, bytes]


@dataclass(frozen=True)
class ContainerExit:
    """How a container ended. `exit_code` is its own (128 + n after signal n), None if the engine had to kill it.

    `running`: it still ran, although its output may have ended. `fault`: why its program cannot be run, in one
    sentence, if the engine has found that out.
    """

    exit_code: int | None
    oom: bool = False
    running: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class Owner:
    """The node that owns an engine's containers. Leftovers of a dead node are recognised by these three names.

    `deployment`: the id of the deployment. `node`: a name that no other node has ever had. `domain`: the lock domain
    within which lock files tell living nodes from dead ones. `home`: a folder on this machine for what containers need.
    """

    deployment: str
    node: str
    domain: str
    home: Path | None = None


#: Takes a node's name and lock domain. True only if the node is certainly gone.
IsGone = Callable[[str, str], bool]


class Container(Protocol):
    """A running handler that reads lines and replies to them.

    1. One thread at a time uses it, except for `send` and `silent`, which the slot calls under its lock, and
       `terminate`, during which another thread may receive.
    2. All its pipes are open when it starts. Everything that it writes from the start can be received.
    3. No method blocks, except `terminate`, `destroy` and a `check_leftovers` that may wait.
    4. `send` passes bytes on in order, as many as fit now; `receive` returns them in order and complete.
    5. stdout and stderr never mix. Their order relative to each other may be lost.
    6. Everything that it wrote before it ended is received before its end.
    7. It outlives the process that started it by seconds at most.
    8. After `destroy` no process of it runs, and no descriptor of it is open. If the engine does not answer, it is
       asked again later: see Engine 4.

    The methods with an answer here are of a container that cannot tell when its handler reads.
    """

    #: The name by which an operator finds it. Short and constant.
    id: str
    #: The id (sha256:...) of its image; "" without one.
    image: str

    def readers(self) -> Sequence[int]:
        """The descriptors to poll for reading, in the order in which they have to be received.

        9. A descriptor becomes readable whenever `receive` has something to return.
        """

    def writer(self) -> int:
        """The descriptor to poll for writing while bytes remain to be sent. May be one of the readers."""

    def receive(self, reader: int) -> Sequence[Chunk]:
        """What waits at a readable descriptor, at most about 64 KiB at a time. May be empty.

        10. Every further call reports the end of a stream again: stop polling that descriptor.
        """

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` were taken; 0 while the handler does not read. Raises OSError if it never will."""

    def window(self) -> int:
        """How many bytes may be sent at a time so that `writer` is ready again only once all of them were read.

        Holds until `widen`. 0: this container cannot tell when its handler reads (Docker's attach cannot; pipes and
        FIFOs on Linux can). Raises OSError if the handler has not read the last line.
        """
        return 0

    def is_reading(self, starting: bool = False) -> bool:
        """True if the handler waits for the next line now, so that all it wrote before is on stdout.

        False if that is unknown. Takes microseconds. `starting`: it may not have loaded yet, so that a False now says
        nothing of later answers.
        """
        return False

    def at_work(self) -> bool | None:
        """False if the handler waits for the next line now, True if it does something else; None if that is unknown.

        For messages. Takes less than a millisecond.
        """
        return None

    def widen(self) -> None:
        """Let stdin take more at a time until the next `window`, for the rest of a long line."""
        return None

    def unread(self) -> int | None:
        """How many of the sent bytes the handler has not read, after its end too. None: unknown."""
        return None

    def silent(self) -> bool:
        """True if nothing waits on stdout: neither bytes nor its end.

        11. May drop what waits on stderr, which belongs to no call. Docker's attach does.
        """

    def check_leftovers(self, wait: bool = True) -> DeathReason | Undecided | None:
        """Why the container must not get another call although it has just replied; None: it may.

        LEFTOVER: it runs more processes than before it had its first line. OOM: the kernel killed one of them for
        memory. Called after every reply. Takes microseconds, up to 0.5 s in doubt. Without `wait` it returns UNDECIDED
        at once instead: call it again with `wait` from a thread that may block.
        12. Only containers of an engine on this machine are inspected. For child processes and containers elsewhere
            LEFTOVER is never returned, and OOM is reported at the container's end.
        """

    def terminate(self) -> None:
        """Send SIGTERM to its first process. Takes at most 10 s. Never raises.

        13. Without an init in the container (Docker's `init`) that process is PID 1, and the kernel drops a SIGTERM for
            which it has no handler.
        """

    def destroy(self, grace: float = 0.0) -> ContainerExit:
        """End it and everything that it started, and return how it ended.

        With `grace` it closes stdin and waits up to that many seconds for a voluntary exit; then, or at once without
        `grace`, it kills. Takes at most `grace` + 10 s. A second call does nothing and returns the same. Never raises.
        """


class Unavailable(Exception):
    """No container can be had. The message is one sentence for an operator."""


class NotYet(Unavailable):
    """What is missing is being fetched; a later try succeeds."""


class EngineUnreachable(Unavailable):
    """The engine cannot be reached or does not answer, whatever the handler. `reason`: the text without a handler."""

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.reason = reason or text


class EngineSlow(EngineUnreachable):
    """The engine takes longer to create a container than it may; a later try may find it created."""


class Engine(Protocol):
    """Starts containers.

    1. Callers see no state: any number of pools use it, from any number of threads.
    2. A container belongs to the thread that starts it, which has to live as long as the container.
    3. A command that does not exist raises Unavailable at the start, or yields a container that ends at once with exit
       code 126 or 127 and says why on stderr (as Docker's init does).
    4. `sweep` destroys what could not be destroyed earlier because the engine did not answer.
    5. A handler that closes its stdout has ended, even if it lives on. Docker's attach does not report that: there the
       deadline ends it.

    The methods with an answer here are of an engine without images, whose containers end with their node.
    """

    def check(self, handler: Handler) -> None:
        """Raise Unavailable if no container of the handler can be started, as far as that is known without a start.

        A missing image is pulled meanwhile. Takes some 10 s at most.
        """

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> Container:
        """A started container, within 30 s, and for Docker the time that its engine may take to create it.

        Raises Unavailable, and then nothing is left behind, or what is left is used by a later start or removed by
        `sweep`. NotYet (an Unavailable): the image is being pulled. EngineUnreachable (an Unavailable): no handler can
        start; EngineSlow, one of these: a later start may find its container created. `closing`: once it is set, by
        any thread, the start ends within 10 s.
        """

    def resolve_again(self, images: Collection[str]) -> Set[str]:
        """From now on start containers from what these names of images mean now; return those that mean another image.

        Until the next call a name means the image of its first start. Failed pulls are tried again at once. Takes
        10 s at most. Raises Unavailable, and then nothing has changed.
        """
        return frozenset()

    def sweep(self, is_gone: IsGone) -> int:
        """Remove what dead nodes left on this engine, and what 4. describes; return how much that was.

        Never touches what belongs to another deployment or has no owner. Raises Unavailable.
        """
        return 0

    def close(self, seconds: float = 0.0) -> Sequence[str]:
        """Try for so many seconds to remove all containers of the node, which ends; then disconnect.

        Returns a sentence for each container that is left: the sweep of another node removes it. With 0 nothing is
        tried, as in a crash.
        """
        return ()

    def explain(self, handler: Handler, result: CallResult) -> CallResult:
        """The result of a call that failed in one of its containers, with what the engine knows of the reason."""
        return result


def variables(handler: Handler) -> dict[str, str]:
    """For engines: the handler's environment from handlers.toml: PYTHONUNBUFFERED, then `env_from`, then `env`.

    A reply in Python's output buffer is the commonest cause of a timeout, so child processes and containers both get
    PYTHONUNBUFFERED. Raises Unavailable if the node lacks a variable of `env_from`.
    """
    environment = {"PYTHONUNBUFFERED": "1"}
    for name in handler.env_from:
        if name not in os.environ:
            raise Unavailable(
                f"`env_from` names {name}, which is not set in the node's environment; set it there, or use `env`"
            )
        environment[name] = os.environ[name]
    return {**environment, **handler.env}
