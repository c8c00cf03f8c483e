"""How a line reaches its handler, and how it is known that a reply belongs to it.

A handler writes everything that belongs to one line before it reads the next. Once it has read the beginning of a line,
whatever is on stdout was therefore written before, and is no reply to this line. If it already waits for the line, it
has written all that, and gets the line whole. Delivery sends a line by these rules. StdinPipe asks the kernel what has
been read, and whether the handler waits. Pairing tells replies apart by the `task_id` in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sys
import termios
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

from tasks_app.runner.engine import Container
from tasks_app.runner.wire import BadReply, Failure, Success

#: The `}` and the LF of a line. Without them a handler has neither valid JSON nor a line.
LINE_END_BYTES = 2
#: The size of the pipe while a long line is sent: Linux's default.
WIDE_PIPE_BYTES = 64 * 1024
#: The beginning of /proc/PID/syscall for a process that waits in read(0, ...); blank on other machines.
READ_SYSCALL = {"x86_64": b"0 0x0 ", "aarch64": b"63 0x0 "}.get(platform.machine(), b"")
#: The numbers of the calls in which a program waits for several things, its stdin perhaps, or for another thread or
#: process: poll, select, epoll_wait, futex, wait4 and their like.
WAITING_SYSCALLS = {
    "x86_64": frozenset((b"7", b"23", b"61", b"202", b"232", b"247", b"270", b"271", b"281", b"441")),
    "aarch64": frozenset((b"22", b"72", b"73", b"95", b"98", b"260", b"441")),
}.get(platform.machine(), frozenset())
#: How often the reading process is searched for. A handler that reads by poll, or in another thread, is never found.
MAX_SEARCHES = 4
#: How many earlier tasks of a container are remembered, to recognise late replies by their `task_id`.
MAX_REMEMBERED_TASKS = 64


class Stage(Enum):
    """How far a line is."""

    #: Nothing is left to be sent: there is no line yet, it was sent whole, or its rest is withheld.
    DONE = "done"
    #: Bytes wait for room in the pipe.
    SENDING = "sending"
    #: The rest waits for the handler to read the beginning.
    HELD_BACK = "held back"
    #: The handler has read the beginning, and it is not known whether it may begin.
    ASKING = "asking"
    #: The handler gets no end of its line, because it may not begin.
    ON_HOLD = "on hold"
    #: The handler has closed its stdin. It may still reply to its line, but gets no other.
    CLOSED = "closed"


class Delivery:
    """Sends one line to a handler: first its beginning, and the rest once the handler has read that.

    The beginning is the line without its last two bytes, or the first page of a long line.
    """

    __slots__ = ("_container", "_unsent", "_window", "asked_at", "reads_unseen", "rest", "sent", "stage")

    def __init__(self, container: Container) -> None:
        self._container = container
        self._window = 0
        self.stage = Stage.DONE
        #: The bytes that wait for room in the pipe.
        self._unsent: memoryview | None = None
        #: The rest of the line, until the handler has read the beginning and may begin.
        self.rest: memoryview | None = None
        #: When it was asked for the first time whether the handler may begin.
        self.asked_at = 0.0
        #: Bytes of the line that the pipe has taken.
        self.sent = 0
        #: True if the line was sent whole because the container cannot tell when its handler reads.
        self.reads_unseen = False

    def begin(self, line: bytes, hold_back: bool) -> bool:
        """Send the beginning of the line, or all of it without `hold_back`. False if nothing can be sent."""
        try:
            self._window = window = self._container.window() if hold_back else 0
        except OSError:
            self.cancel(Stage.CLOSED)
            return False
        self.sent = 0
        self.reads_unseen = hold_back and not window
        if window:
            end = min(len(line) - LINE_END_BYTES, window)
            self._unsent, self.rest = memoryview(line)[:end], memoryview(line)[end:]
        else:
            self._unsent = memoryview(line)
            if not hold_back:
                self._container.widen()
        return self.send()

    @property
    def read(self) -> bool | None:
        """True if the handler has read a byte of the line; None if that is unknown. Valid after the container's end."""
        unread = self._container.unread()
        return None if unread is None else unread < self.sent

    @property
    def may_have_read(self) -> bool:
        """True if the handler may have read a byte of the line. Valid after the container's end too."""
        return self.read is not False

    def send(self) -> bool:
        """Send as much of the unsent bytes as the pipe takes. False if the handler has closed its stdin."""
        assert self._unsent is not None
        try:
            taken = self._container.send(self._unsent)
        except OSError:
            self.cancel(Stage.CLOSED)
            return False
        self.sent += taken
        if taken < len(self._unsent):
            self._unsent = self._unsent[taken:]
            self.stage = Stage.SENDING
        else:
            self._unsent = None
            self.stage = Stage.DONE if self.rest is None else Stage.HELD_BACK
        return True

    def ask(self, now: float) -> None:
        """The handler has read the beginning, and it is not known whether it may begin."""
        self.stage, self.asked_at = Stage.ASKING, now

    def finish(self) -> bool:
        """Send the rest, after the beginning has been read. False if the handler has closed its stdin."""
        assert self.rest is not None
        if len(self.rest) > self._window:
            self._container.widen()
        self._unsent, self.rest = self.rest, None
        return self.send()

    def cancel(self, stage: Stage = Stage.DONE) -> None:
        """Send nothing more. `stage`: why, unless the line has ended before."""
        self._unsent = self.rest = None
        if self.stage not in (Stage.ON_HOLD, Stage.CLOSED):
            self.stage = stage


class Pairing:
    """Tells the replies of one container apart by the tasks that they name."""

    __slots__ = ("_earlier_tasks", "_must_name", "_task", "forgot_task_id", "names_tasks")

    def __init__(self) -> None:
        #: The last reply had a `task_id`.
        self.names_tasks = False
        #: The container named an earlier task, and a reply that had to name its task did not.
        self.forgot_task_id = False
        self._must_name = False
        self._task = ""
        self._earlier_tasks: deque[str] = deque(maxlen=MAX_REMEMBERED_TASKS)

    def can_tell(self, task_id: str) -> bool:
        """True if the reply to a line of this task can be told from late replies."""
        # Two attempts of one task have the same id, which therefore cannot tell their replies apart.
        return self.names_tasks and task_id not in self._earlier_tasks

    def sent(self, task_id: str, must_name: bool) -> None:
        """A line of this task was sent. `must_name`: a reply without a `task_id` does not count."""
        self._task, self._must_name = task_id, must_name

    def is_late(self, reply: Success | Failure) -> bool:
        """True if it replies to an earlier line. Raises BadReply if the line that it replies to is unknown."""
        if reply.task_id is None:
            if self._must_name:
                self.forgot_task_id = True
                raise BadReply(
                    "the reply has no `task_id`, and earlier replies of this container had one; "
                    f"name the task in every reply. {_quoted(reply)}"
                )
            return False
        if not self._task or reply.task_id == self._task:
            return False
        if reply.task_id not in self._earlier_tasks:
            raise BadReply(
                f"the reply's `task_id` is {reply.task_id[:40]!r}, and the task's is {self._task!r}; "
                "send the task's, or none"
            )
        return True

    def replied(self, reply: Success | Failure) -> None:
        """The last line has its reply."""
        self.names_tasks = reply.task_id is not None
        self._earlier_tasks.append(self._task)


class StdinPipe:
    """The methods of a Container whose stdin is a pipe or a FIFO of this kernel.

    The pipe has one page, so the kernel reports it as writable only once everything sent has been read. Linux only:
    elsewhere `window` is 0. A handler that resizes its own pipe only loses the exact pairing of its own replies.

    If the process that reads it waits for the next line, everything that it wrote before is on its stdout, and the next
    line can be sent whole, without a second write and a second wake-up. Linux shows this to root and to the parent of
    the process; for others it is never known.
    """

    def __init__(self, descriptor: int, processes: Callable[[], Iterable[int]]) -> None:
        """`descriptor`: the non-blocking writing end. `processes`: returns the pids of the handler's processes."""
        self._in = descriptor
        self._processes = processes
        #: /proc/PID/syscall of the process that reads; None: not found.
        self._syscall: int | None = None
        self._searches = MAX_SEARCHES
        self._wide = False
        #: `_in` is a descriptor of `keep_unread`.
        self._kept = False
        self._unread_at_end: int | None = None
        self._window = 0
        if sys.platform == "linux":
            try:
                self._window = fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1)
            except OSError:
                pass  # A kernel or sandbox without that call: replies are paired as over Docker's attach.

    def writer(self) -> int:
        return self._in

    def send(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._in, data)
        except BlockingIOError:
            return 0

    def window(self) -> int:
        if self._wide:
            self._window = fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, 1)
            self._wide = False
        return self._window

    def widen(self) -> None:
        if self._window and not self._wide:
            try:
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)
                self._wide = True
            except OSError:
                pass  # Not permitted: the pipe keeps its size, which is slower and works.

    def unread(self) -> int | None:
        if not self._window or self._unread_at_end is not None:
            return self._unread_at_end
        waiting = array("i", [0])
        fcntl.ioctl(self._in, termios.FIONREAD, waiting)
        return waiting[0]

    def keep_unread(self) -> None:
        """Before the descriptor is closed: let `unread` answer as long as the handler may still read."""
        if not self._window or self._kept:
            return
        try:
            # A reading end: a writing one would keep the end of its stdin from the handler.
            self._in = os.open(f"/proc/self/fd/{self._in}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._kept = True
        except OSError:
            self._unread_at_end = self.unread()

    def end_unread(self) -> None:
        """The handler has ended: keep the number without a descriptor."""
        if self._kept:
            self._unread_at_end, self._kept = self.unread(), False
            os.close(self._in)

    def is_reading(self, starting: bool = False) -> bool:
        if self._syscall is not None:
            try:
                return os.pread(self._syscall, len(READ_SYSCALL), 0) == READ_SYSCALL
            except OSError:
                self.close_syscall()
                return False
        if not starting:
            if not self._searches:
                return False
            self._searches -= 1
        return self._find_reader()

    def at_work(self) -> bool | None:
        """See Container. Looks at all processes that have this stdin."""
        calls = []
        for pid in self._processes():
            with contextlib.suppress(OSError):
                if self._is_stdin_of(pid):
                    with open(f"/proc/{pid}/syscall", "rb") as file:
                        calls.append(file.read())
        if not READ_SYSCALL or not calls:
            return None
        if any(call.startswith(READ_SYSCALL) for call in calls):
            return False
        numbers = {call.partition(b" ")[0] for call in calls}
        return True if numbers.isdisjoint(WAITING_SYSCALLS) else None

    def close_syscall(self) -> None:
        """Close the file of the process that reads."""
        if self._syscall is not None:
            os.close(self._syscall)
            self._syscall = None

    def _is_stdin_of(self, pid: int) -> bool:
        """True if the process has this stdin. Raises OSError."""
        return os.path.samestat(os.fstat(self._in), os.stat(f"/proc/{pid}/fd/0"))

    def _find_reader(self) -> bool:
        """True if a process waits for the next line now, whose file is kept."""
        if not READ_SYSCALL:
            return False
        for pid in self._processes():
            with contextlib.suppress(OSError):
                if not self._is_stdin_of(pid):
                    continue
                file = os.open(f"/proc/{pid}/syscall", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if os.pread(file, len(READ_SYSCALL), 0) == READ_SYSCALL:
                        self.close_syscall()
                        self._syscall, file = file, -1
                finally:
                    if file >= 0:
                        os.close(file)
        return self._syscall is not None


def _quoted(reply: Success | Failure) -> str:
    """The status of a reply that does not count, and the handler's own error text."""
    if isinstance(reply, Success):
        return "Its status is `success`"
    return f"Its status is `error`{', retryable' if reply.retryable else ''}: {reply.error}"
