"""The exchange of lines with one container: sends, receives, pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from enum import Enum

from tasks_app.runner.call import Call, CallResult, LiveOutput, Outcome, Stream, Tail
from tasks_app.runner.delivery import Delivery, Pairing, Stage
from tasks_app.runner.engine import EXITED, STDOUT, Container
from tasks_app.runner.no_reply import SILENCE_SECONDS, so_far
from tasks_app.runner.reactor import Descriptors, Events, Listener, Reactor
from tasks_app.runner.revision import Revision
from tasks_app.runner.wire import BadReply, Failure, Lines, Success, parse_reply

Reply = Success | Failure | BadReply

MAX_STARTUP_OUTPUT_BYTES = 1024 * 1024


class Due(Enum):
    """What a container has to write to stdout next."""

    #: Anything but a reply: it does not have its first line yet.
    STARTUP = "startup"
    #: A reply, after other output.
    REPLY = "reply"
    #: Nothing: it has replied, or does not have its next line yet.
    NOTHING = "nothing"


class Ending(Enum):
    """How far the end of a container is known from its output."""

    RUNNING = "running"
    #: It has exited, and output may remain: call `receive` with what `poll` finds until `ENDED`.
    EXITING = "exiting"
    #: No more output comes: stdout was closed, or the container has exited.
    ENDED = "ended"


class CallOutput:
    """The output of one call besides its reply. For the threads that may use its Dialog."""

    __slots__ = ("_err", "_out", "live", "wrote_at")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin with the output of another call."""
        self._out: Tail | None = None
        self._err: Tail | None = None
        #: None: it was not followed.
        self.live: LiveOutput | None = None
        #: When the last output came that was no reply, until `follow` has looked at it. None: nothing to look at.
        self.wrote_at: float | None = None

    def add(self, stream: Stream, data: bytes) -> None:
        """The call has written this: of stdout whole lines, if it splits them."""
        if stream == "stdout":
            self._out = tail = self._out or Tail()
        else:
            self._err = tail = self._err or Tail()
        tail.add(data)
        if self.live is not None:
            self.live.add(stream, data)

    def tails(self) -> tuple[str, str]:
        return (self._out.text() if self._out else "", self._err.text() if self._err else "")

    def follow(self, unfinished: bytes | None) -> LiveOutput:
        """The output so far and from now on; the same one each time. `unfinished`: the line of stdout that has no end
        yet; None if the call has its reply.

        Each time it is noted if the call has written something that seems to be meant as a reply and is none, and then
        nothing for SILENCE_SECONDS.
        """
        if self.live is None:
            self.live = LiveOutput(self._out, self._err)
        silent = self.wrote_at is not None and time.monotonic() - self.wrote_at >= SILENCE_SECONDS
        if silent and unfinished is not None:
            self.wrote_at = None
            written = (self._out.text() if self._out else "") + unfinished.decode(errors="replace")
            if (fault := so_far(written)) is not None:
                self.live.note(fault)
        return self.live


class Dialog:
    """The exchange of lines with one container, from its start to its end.

    A slot owns it: every method is called under the slot's lock, and none blocks. After the last `detach` it belongs
    to the thread that destroys the container. Any thread may read the attributes up to `replied`.
    """

    def __init__(self, container: Container, revision: Revision) -> None:
        self.container, self.revision = container, revision
        self.revision_id = revision.id(container.image)
        self.started_at = time.monotonic()
        self.calls = 0
        #: It has replied to a call in time, with a success or an error.
        self.replied = False
        #: It wrote more to stdout than one reply a call, replied before its first call, or is `flooding`.
        self.wrote_unasked = False
        #: When it got the end of its first line, after it had read the beginning. None: not yet, unknown, or noted.
        self.read_at: float | None = None
        #: Asked before the end of a line is sent that was held back, see SlotOwner.
        self.may_begin: Callable[[float], bool | None] = lambda waited: True
        #: Sends the last line.
        self.delivery = Delivery(container)
        self.pairing = Pairing()
        self._due = Due.STARTUP
        self._ending = Ending.RUNNING
        self._descriptors = Descriptors(container.readers(), container.writer())
        self._lines = Lines()
        #: All that came on stdout.
        self._stdout_bytes = 0
        #: Of the last call; of the first one with what was written before.
        self._output = CallOutput()
        #: Whether the last reply came with other output. Without, what was logged before it is in the same events: the
        #: handler would have to log and to reply while the kernel puts them together.
        self._wrote_before = False

    def attach(self, reactor: Reactor, listener: Listener) -> None:
        """Have the reactor pass this container's events to `listener`."""
        self._descriptors.attach(reactor, listener)

    def detach(self) -> None:
        """Leave the reactor. Later output waits for `poll`."""
        self._descriptors.detach()

    @property
    def awaiting_reply(self) -> bool:
        """True if it has a whole line that it has not replied to."""
        return self._due is Due.REPLY

    @property
    def exiting(self) -> bool:
        return self._ending is Ending.EXITING

    @property
    def ended(self) -> bool:
        return self._ending is Ending.ENDED

    @property
    def closed_stdin(self) -> bool:
        return self.delivery.stage is Stage.CLOSED

    @property
    def quiet(self) -> bool:
        """True if only a reply needs handling."""
        on_hold = self.delivery.stage is Stage.ON_HOLD
        return self._ending is Ending.RUNNING and not self.wrote_unasked and not on_hold

    @property
    def flooding(self) -> bool:
        """True if it wrote more before its first call than any program has to say."""
        return self._due is Due.STARTUP and self._stdout_bytes > MAX_STARTUP_OUTPUT_BYTES

    @property
    def reusable(self) -> bool:
        """True if the container can be given another call after a reply."""
        return self._ending is Ending.RUNNING and not self.wrote_unasked and self.delivery.stage is Stage.DONE

    @property
    def unpaired(self) -> bool:
        """True if a later reply could belong to this line or to the next: its reply has no `task_id`, and it cannot
        tell when it reads."""
        return self.replied and self.delivery.reads_unseen and not self.pairing.names_tasks

    def send(self, line: bytes, task_id: str = "", may_forget: bool = False) -> bool:
        """Begin to send a line. False if the container wrote something or ended; nothing was sent then.

        To make sure that a reply belongs to this line, its end is held back until the handler has read its beginning
        and stdout is silent; not if the handler already waits for the line, or names the task in its replies. `receive`
        sends the rest.

        `may_forget`: some replies of this handler have a `task_id` and others have none. Then its lines are held back
        even if it named the last task, and a reply without an id counts, unless it cannot tell when it reads.
        """
        must_name = self.pairing.can_tell(task_id)
        hold_back = may_forget or not must_name
        # Output of a container without calls belongs to its start: it cannot be a late reply.
        if self.calls:
            # Asked before stdout is checked: if it waits, everything that it wrote before is there by then.
            hold_back = hold_back and not self.container.is_reading()
            if not (self.reusable and self.container.silent()):
                self.wrote_unasked = True
                return False
        delivery = self.delivery
        if not delivery.begin(line, hold_back):
            return False
        self.pairing.sent(task_id, must_name and (delivery.reads_unseen or not may_forget))
        if self.calls:
            self._output.clear()
        self.calls += 1
        if delivery.rest is None:
            self._expect_reply()
        if delivery.stage is not Stage.DONE:
            self._descriptors.watch_writer(True)
        return True

    def follow(self) -> LiveOutput:
        """The output of the last call, so far and from now on: see CallOutput.follow."""
        return self._output.follow(self._lines.unfinished() if self.awaiting_reply else None)

    def refuse_replies(self) -> None:
        """Send nothing more. What would have been a reply goes to the log."""
        self._due = Due.NOTHING
        self._lines.stop_splitting()
        self.delivery.cancel()
        self._descriptors.watch_writer(False)

    def poll(self) -> Events:
        """The events that are ready now."""
        return self._descriptors.poll()

    def receive(self, events: Events) -> Reply | None:
        """Read and send what is ready. Returns the reply to the last line when it is complete."""
        ending, stdout_bytes, descriptors = self._ending, self._stdout_bytes, self._descriptors
        reply: Reply | None = None
        if len(events) > 1:
            descriptors.sort(events)
        for fd, _ in events:
            if fd in descriptors.readers:
                reply = self._read(fd) or reply
        if reply is not None and self._wrote_before:
            # A handler that had written to stdout may have logged and then replied after `events` were read.
            self._read_all(except_for={fd for fd, _ in events})
        if self.delivery.stage is not Stage.DONE and descriptors.may_write(events):
            self._send_rest()
        if ending is Ending.EXITING and self._stdout_bytes == stdout_bytes:
            self._ending = Ending.ENDED
        return reply

    def ask_again(self) -> float:
        """Send the end of a line that waits for the answer whether the handler may begin, if that is known.

        Returns the seconds that it has waited, once it is sent; otherwise 0.
        """
        if self.delivery.stage is not Stage.ASKING:
            return 0.0
        self._send_rest()
        waits = self.delivery.stage in (Stage.ASKING, Stage.ON_HOLD)
        return 0.0 if waits else time.monotonic() - self.delivery.asked_at

    def result(self, call: Call, outcome: Outcome, sent_at: float, slot: int, oom: bool) -> CallResult:
        """The result of the last call, which is over now."""
        seconds, container = time.monotonic() - sent_at, self.container
        return CallResult(
            call, outcome, container.id, None, seconds, slot, *self.tails(), container.image, oom,
            live=self._output.live, revision=self.revision_id,
        )  # fmt: skip

    def tails(self) -> tuple[str, str]:
        """What stdout and stderr had besides replies. Call after the end of a call."""
        if self._lines.rest:
            self._output.add("stdout", self._lines.unfinished())
            self._lines = Lines()
        return self._output.tails()

    def _expect_reply(self) -> None:
        """The whole line is sent: a reply from now on belongs to it."""
        if self._due is Due.STARTUP and self._lines.unfinished().lstrip().startswith(b"{"):
            self.wrote_unasked = True
        self._due = Due.NOTHING if self.wrote_unasked else Due.REPLY

    def _read_all(self, except_for: Set[int] = frozenset()) -> None:
        """Read what waits at the other readers. A reply in it does not count."""
        for fd, _ in self._descriptors.poll():
            if fd in self._descriptors.readers and fd not in except_for:
                self._read(fd)

    def _read(self, fd: int) -> Reply | None:
        reply: Reply | None = None
        for stream, data in self.container.receive(fd):
            if not data:
                self._stream_ended(stream, fd)
            elif stream == STDOUT:
                self._stdout_bytes += len(data)
                reply = self._stdout(data) or reply
                if reply is None:
                    self._output.wrote_at = time.monotonic()
                else:
                    self._wrote_before = data.find(b"\n") < len(data) - 1
            else:
                self._output.add("stderr", data)
        return reply

    def _stdout(self, data: bytes) -> Reply | None:
        found: Success | Failure | None = None
        line = b""
        try:
            for line in self._lines.feed(data):
                if self._due is not Due.REPLY:
                    self._unexpected(line)
                elif (reply := parse_reply(line)) is None:
                    self._output.add("stdout", line)
                elif self.pairing.is_late(reply):
                    self.wrote_unasked = True
                    self._output.add("stdout", line)
                else:
                    found = reply
                    self._due = Due.NOTHING
                    self.replied = True
                    self.pairing.replied(reply)
        except BadReply as bad:
            self._due = Due.NOTHING if self._due is Due.REPLY else self._due
            self._output.add("stdout", line)
            return bad
        if self._lines.rest and self._due is not Due.REPLY:
            self._unexpected(b"")
        return found

    def _unexpected(self, line: bytes) -> None:
        """Handle output while no reply is due."""
        self._output.add("stdout", line)
        try:
            self.wrote_unasked |= self._due is Due.NOTHING or self.flooding or parse_reply(line) is not None
        except BadReply:
            self.wrote_unasked = True

    def _stream_ended(self, stream: int, fd: int) -> None:
        if fd not in self._descriptors.readers:
            return
        self._descriptors.close(fd)
        if stream == STDOUT:
            self._ending = Ending.ENDED
        elif stream == EXITED and self._ending is Ending.RUNNING:
            # Output from before the exit may remain, and a child process may hold stdout open for ever.
            self._ending = Ending.EXITING

    def _send_rest(self) -> None:
        """The writer is ready: the pipe has room, or the handler has read the beginning of the line."""
        delivery = self.delivery
        if delivery.stage is Stage.SENDING:
            delivery.send()
        elif self._is_silent():
            self._ask_and_finish()
        else:
            delivery.cancel()
        self._descriptors.watch_writer(delivery.stage in (Stage.SENDING, Stage.HELD_BACK))

    def _ask_and_finish(self) -> None:
        """Send the end of the line, unless the handler may not begin."""
        now, delivery = time.monotonic(), self.delivery
        asks_again = delivery.stage is Stage.ASKING
        permitted = self.may_begin(now - delivery.asked_at if asks_again else 0.0)
        if permitted is None:
            if not asks_again:
                delivery.ask(now)
                self._descriptors.check_soon()
        elif not permitted:
            delivery.cancel(Stage.ON_HOLD)
        elif delivery.finish():
            self._expect_reply()
            # Asked again: a pipe without a reader is ready too.
            if self.calls == 1 and delivery.read:
                self.read_at = now

    def _is_silent(self) -> bool:
        """True if the handler wrote nothing before it read the line that could be taken for its reply."""
        self._read_all()
        return self.quiet
