"""The exchange of lines with one container: sends, receives, pairs."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable

from tasks_app.runner.call import Call, CallResult, LiveOutput, Outcome, Tail
from tasks_app.runner.delivery import Delivery
from tasks_app.runner.engine import EXITED, STDOUT, Container
from tasks_app.runner.no_reply import SILENCE_SECONDS, so_far
from tasks_app.runner.reactor import Events, Listener, Reactor
from tasks_app.runner.revision import Revision
from tasks_app.runner.wire import BadReply, Failure, Lines, Success, parse_reply

Reply = Success | Failure | BadReply

MAX_STARTUP_OUTPUT_BYTES = 1024 * 1024
#: How many earlier tasks of a container are remembered, to recognise late replies by their `task_id`.
MAX_REMEMBERED_TASKS = 64


class Dialog:
    """The exchange of lines with one container, from its start to its end.

    Every method is called under the slot's lock, and none blocks.
    """

    def __init__(self, container: Container, revision: Revision) -> None:
        self.container, self.revision = container, revision
        self.revision_id = revision.id(container.image)
        self.calls = 0
        #: It has replied to a call in time, with a success or an error.
        self.replied = False
        #: Its last reply had a `task_id`.
        self.names_tasks = False
        #: It named an earlier task, and a reply that had to name its task did not.
        self.forgot_task_id = False
        self.started_at = time.monotonic()
        #: It wrote more to stdout than one reply a call.
        self.wrote_extra = False
        #: It replied before its first call, or wrote without end at its start (`flooding`).
        self.wrote_early = False
        #: It closed its stdin. It may still reply to its line, but gets no other.
        self.closed_stdin = False
        #: No more output comes: stdout was closed, or the container has exited.
        self.ended = False
        #: It has exited, and output may remain: call `receive` with what `poll` finds until `ended`.
        self.exiting = False
        #: It has a whole line that it has not replied to.
        self.awaiting_reply = False
        #: Sends the last line.
        self.delivery = Delivery(container)
        #: Asked before the end of a line is sent that was held back, see SlotOwner.
        self.may_begin: Callable[[float], bool | None] = lambda waited: True
        #: Since when the handler waits for the end of its line because it is not known whether it may begin.
        self.asks_since: float | None = None
        #: The handler gets no end of its line, because it may not begin.
        self.on_hold = False
        #: When it got the end of its first line, after it had read the beginning. None: not yet, unknown, or noted.
        self.read_at: float | None = None
        self._writer = container.writer()
        self._readers = list(container.readers())
        self._watching_writer = self._expects_task_id = False
        self._starting = True
        self._startup_bytes = self._stdout_bytes = 0
        self._task = ""
        self._earlier_tasks: deque[str] = deque(maxlen=MAX_REMEMBERED_TASKS)
        self._lines = Lines()
        self._out: Tail | None = None
        self._err: Tail | None = None
        self._live: LiveOutput | None = None
        #: Whether the last reply came with other output. Without, what was logged before it is in the same events: the
        #: handler would have to log and to reply while the kernel puts them together.
        self._wrote_before = False
        #: When the last output came that was no reply, until it was looked at. None: nothing to look at.
        self._wrote_at: float | None = None
        self._reactor: Reactor | None = None
        self._listener: Listener | None = None
        self._poller = select.poll()
        # The order in which descriptors are received: output before the exit that followed it, and stderr after
        # stdout, so that what was logged before a reply is kept with that reply.
        self._order = {reader: nth for nth, reader in enumerate(self._readers)}
        for reader in self._readers:
            self._poller.register(reader, select.POLLIN)

    def attach(self, reactor: Reactor, listener: Listener) -> None:
        """Have the reactor pass this container's events to `listener`."""
        self._reactor, self._listener = reactor, listener
        # stdout last: its end is the container's, and the reactor may handle it before the next descriptor is watched.
        for reader in reversed(self._readers):
            reactor.watch(reader, self._events(reader), listener)

    def detach(self) -> None:
        """Leave the reactor. Later output waits for `poll`."""
        if self._reactor is not None:
            for descriptor in {*self._readers, self._writer}:
                self._reactor.forget(descriptor)
            self._reactor = None

    @property
    def quiet(self) -> bool:
        """True if only a reply needs handling."""
        return not (self.ended or self.wrote_extra or self.wrote_early or self.exiting or self.on_hold)

    @property
    def flooding(self) -> bool:
        """True if it wrote more before its first call than any program has to say."""
        return self._starting and self._startup_bytes + len(self._lines.rest) > MAX_STARTUP_OUTPUT_BYTES

    @property
    def reusable(self) -> bool:
        """True if the container can be given another call after a reply."""
        return not (self.wrote_extra or self.ended or self.exiting or self.closed_stdin or self.delivery.pending)

    @property
    def unpaired(self) -> bool:
        """True if a later reply could belong to this line or to the next: its reply has no `task_id`, and it cannot
        tell when it reads."""
        return self.replied and self.delivery.reads_unseen and not self.names_tasks

    def send(self, line: bytes, task_id: str = "", may_forget: bool = False) -> bool:
        """Begin to send a line. False if the container wrote something or ended; nothing was sent then.

        To make sure that a reply belongs to this line, its end is held back until the handler has read its beginning
        and stdout is silent; not if the handler already waits for the line, or names the task in its replies. `receive`
        sends the rest.

        `may_forget`: some replies of this handler have a `task_id` and others have none. Then its lines are held back
        even if it named the last task, and a reply without an id counts, unless it cannot tell when it reads.
        """
        # Two attempts of one task have the same id, which therefore cannot tell their replies apart.
        self._expects_task_id = self.names_tasks and task_id not in self._earlier_tasks
        hold_back = may_forget or not self._expects_task_id
        # Output of a container without calls belongs to its start: it cannot be a late reply.
        if self.calls:
            # Asked before stdout is checked: if it waits, everything that it wrote before is there by then.
            hold_back = hold_back and not self.container.is_reading()
            if not (self.reusable and self.container.silent()):
                self.wrote_extra = True
                return False
        try:
            self.delivery.begin(line, hold_back)
        except OSError:
            self.closed_stdin = True
            return False
        if may_forget and not self.delivery.reads_unseen:
            self._expects_task_id = False
        if self.calls:
            self._out = self._err = self._live = self._wrote_at = None
        self.calls += 1
        self._task = task_id
        if self.delivery.rest is None:
            self._expect_reply()
        if self.delivery.pending:
            self._watch_writer(True)
        return True

    def follow(self) -> LiveOutput:
        """The output of the last call, so far and from now on; the same one each time.

        Each time it is noted if the call has written something that seems to be meant as a reply and is none, and then
        nothing for SILENCE_SECONDS.
        """
        if self._live is None:
            self._live = LiveOutput(self._out, self._err)
        silent = self._wrote_at is not None and time.monotonic() - self._wrote_at >= SILENCE_SECONDS
        if silent and self.awaiting_reply:
            self._wrote_at = None
            written = (self._out.text() if self._out else "") + self._lines.unfinished().decode(errors="replace")
            if (fault := so_far(written)) is not None:
                self._live.note(fault)
        return self._live

    def refuse_replies(self) -> None:
        """Send nothing more. What would have been a reply goes to the log."""
        self.awaiting_reply = self._starting = False
        self._lines.stop_splitting()
        self._withhold()
        self._watch_writer(False)

    def poll(self) -> Events:
        """The events that are ready now."""
        return self._poller.poll(0)

    def receive(self, events: Events) -> Reply | None:
        """Read and send what is ready. Returns the reply to the last line when it is complete."""
        exiting, stdout_bytes = self.exiting, self._stdout_bytes
        reply: Reply | None = None
        if len(events) > 1:
            events.sort(key=lambda event: self._order.get(event[0], -1))
        for fd, _ in events:
            if fd in self._readers:
                reply = self._read(fd) or reply
        if reply is not None and self._wrote_before:
            self._read_others(events)
        if self._watching_writer and any(fd == self._writer for fd, _ in events):
            self._send_rest()
        if exiting and self._stdout_bytes == stdout_bytes:
            self.ended = True
        return reply

    def result(self, call: Call, outcome: Outcome, sent_at: float, slot: int, oom: bool) -> CallResult:
        """The result of the last call, which is over now."""
        seconds, container = time.monotonic() - sent_at, self.container
        result = CallResult(
            call, outcome, container.id, None, seconds, slot, *self.tails(), container.image, oom,
            revision=self.revision_id,
        )  # fmt: skip
        return result if self._live is None else result._replace(live=self._live)

    def tails(self) -> tuple[str, str]:
        """What stdout and stderr had besides replies. Call after the end of a call."""
        if self._lines.rest:
            self._keep(self._lines.unfinished())
            self._lines = Lines()
        return (self._out.text() if self._out else "", self._err.text() if self._err else "")

    def _read_others(self, events: Events) -> None:
        """Read the other readers. A handler that had written to stdout may have logged and then replied after `events`
        were read."""
        known = {fd for fd, _ in events}
        for fd, _ in self._poller.poll(0):
            if fd in self._readers and fd not in known:
                self._read(fd)

    def _expect_reply(self) -> None:
        """The whole line is sent: a reply from now on belongs to it."""
        if self._starting:
            self._starting = False
            self.wrote_early |= self._lines.unfinished().lstrip().startswith(b"{")
        self.awaiting_reply = not self.wrote_early

    def _read(self, fd: int) -> Reply | None:
        reply: Reply | None = None
        for stream, data in self.container.receive(fd):
            if not data:
                self._stream_ended(stream, fd)
            elif stream == STDOUT:
                self._stdout_bytes += len(data)
                reply = self._stdout(data) or reply
                if reply is None:
                    self._wrote_at = time.monotonic()
                else:
                    self._wrote_before = data.find(b"\n") < len(data) - 1
            else:
                self._err = self._err or Tail()
                self._err.add(data)
                if self._live is not None:
                    self._live.add("stderr", data)
        return reply

    def _stdout(self, data: bytes) -> Reply | None:
        found: Success | Failure | None = None
        line = b""
        try:
            for line in self._lines.feed(data):
                if not self.awaiting_reply:
                    self._unexpected(line)
                    continue
                reply = parse_reply(line)
                if reply is None or self._is_late(reply):
                    self._keep(line)
                    continue
                found = reply
                self.awaiting_reply = False
                self.replied = True
                self.names_tasks = reply.task_id is not None
                self._earlier_tasks.append(self._task)
        except BadReply as bad:
            self.awaiting_reply = False
            self._keep(line)
            return bad
        if not self.awaiting_reply and self._lines.rest:
            self._unexpected(b"")
        return found

    def _is_late(self, reply: Success | Failure) -> bool:
        """True if it replies to an earlier line. Raises BadReply if the line that it replies to is unknown."""
        if reply.task_id is None:
            if self._expects_task_id:
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
        self.wrote_extra = True
        return True

    def _unexpected(self, line: bytes) -> None:
        """Handle output while no reply is due."""
        self._keep(line)
        if not self._starting:
            self.wrote_extra = True
            return
        self._startup_bytes += len(line)
        try:
            self.wrote_early |= self.flooding or parse_reply(line) is not None
        except BadReply:
            self.wrote_early = True

    def _keep(self, data: bytes) -> None:
        self._out = self._out or Tail()
        self._out.add(data)
        if self._live is not None:
            self._live.add("stdout", data)

    def _stream_ended(self, stream: int, fd: int) -> None:
        if fd not in self._readers:
            return
        self._poller.unregister(fd)
        self._readers.remove(fd)
        if self._reactor is not None:
            self._reactor.forget(fd)
        if stream == EXITED:
            # Output from before the exit may remain, and a child process may hold stdout open for ever.
            self.exiting = True
        elif stream == STDOUT:
            self.ended = True

    def ask_again(self) -> float:
        """Send the end of a line that waits for the answer whether the handler may begin, if that is known.

        Returns the seconds that it has waited, once it is sent; otherwise 0.
        """
        if (since := self.asks_since) is None:
            return 0.0
        self._send_rest()
        return 0.0 if self.asks_since is not None or self.on_hold else time.monotonic() - since

    def _send_rest(self) -> None:
        """The writer is ready: the pipe has room, or the handler has read the beginning of the line."""
        try:
            if self.delivery.unsent is not None:
                self.delivery.send()
            elif self._is_silent():
                self._finish()
            else:
                self._withhold()
        except OSError:
            self.closed_stdin = True
            self._withhold()
        self._watch_writer(self.delivery.pending and self.asks_since is None)

    def _finish(self) -> None:
        """Send the end of the line, unless the handler may not begin. Raises OSError."""
        now = time.monotonic()
        since = self.asks_since or now
        permitted = self.may_begin(now - since)
        if permitted is None:
            if self.asks_since is None and self._reactor is not None and self._listener is not None:
                self._reactor.check_soon(self._listener)
            self.asks_since = since
            return
        self.asks_since = None
        if permitted:
            self.delivery.finish()
            self._expect_reply()
            # Asked again: a pipe without a reader is ready too.
            if self.calls == 1 and self.delivery.read:
                self.read_at = now
        else:
            self.on_hold = True
            self._withhold()

    def _withhold(self) -> None:
        """Send nothing more of the line."""
        self.asks_since = None
        self.delivery.cancel()

    def _is_silent(self) -> bool:
        """True if the handler wrote nothing before it read the line that could be taken for its reply."""
        for fd, _ in self._poller.poll(0):
            if fd in self._readers:
                self._read(fd)
        return self.quiet

    def _events(self, descriptor: int) -> int:
        """The events that the descriptor is watched for."""
        events = select.POLLIN if descriptor in self._readers else 0
        return events | select.POLLOUT if descriptor == self._writer and self._watching_writer else events

    def _watch_writer(self, watch: bool) -> None:
        """Watch the writer while bytes remain to be sent."""
        if watch == self._watching_writer:
            return
        self._watching_writer = watch
        if (writer := self._writer) in self._readers:
            self._poller.modify(writer, self._events(writer))
            if self._reactor is not None:
                self._reactor.modify(writer, self._events(writer))
        elif watch:
            self._poller.register(writer, select.POLLOUT)
            if self._reactor is not None and self._listener is not None:
                self._reactor.watch(writer, select.POLLOUT, self._listener)
        else:
            self._poller.unregister(writer)
            if self._reactor is not None:
                self._reactor.forget(writer)


def _quoted(reply: Success | Failure) -> str:
    """The status of a reply that does not count, and the handler's own error text."""
    if isinstance(reply, Success):
        return "Its status is `success`"
    return f"Its status is `error`{', retryable' if reply.retryable else ''}: {reply.error}"
