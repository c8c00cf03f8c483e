from __future__ import annotations

import select
import time

from tasks_app.runner.engine import EXITED, STDOUT, Container
from tasks_app.runner.errors import BadReply
from tasks_app.runner.lines import Lines
from tasks_app.runner.reactor import Events, Listener, Reactor
from tasks_app.runner.tail import Tail
from tasks_app.runner.wire import Failure, Success, parse_reply

Answer = Success | Failure | BadReply | None

MAX_BOOT_CHATTER = 1024 * 1024


class Talk:
    """All that is said to and by one container, from its start to its end.

    Everything is called under the slot's lock, and nothing waits.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.calls = 0
        self.answered = False
        """It has answered a call, well or badly but in time."""
        self.started_at = time.monotonic()
        self.surplus = False
        """More came on stdout than one reply a call."""
        self.premature = False
        """It answered before it was asked for the first time, or talks without an end."""
        self.ended = False
        """Nothing will come any more: stdout was closed, or the container has ended."""
        self.leaving = False
        """It has ended, and may not all have been heard: `hear` of what `poll` finds until it is `ended`."""
        self._writer = container.writer()
        self._readers = list(container.readers())
        self._unsent: memoryview | None = None
        self._deaf = False
        self._asked = False
        self._boot_bytes = 0
        self._lines = Lines()
        self._out: Tail | None = None
        self._err: Tail | None = None
        self._reactor: Reactor | None = None
        self._owner: Listener | None = None
        self._poller = select.poll()
        # In the order in which they are received: what was written before an end is read before it,
        # and stderr after stdout, so that what was logged before a reply is there with it.
        self._order = {reader: nth for nth, reader in enumerate(self._readers)}
        for reader in self._readers:
            self._poller.register(reader, select.POLLIN)

    def attach(self, reactor: Reactor, owner: Listener) -> None:
        """Let the reactor tell `owner` what there is to hear."""
        self._reactor, self._owner = reactor, owner
        # Stdout last: its end is the container's, and whoever drives may hear it before the next one is watched.
        for reader in reversed(self._readers):
            reactor.watch(reader, self._events(reader), owner)

    def detach(self) -> None:
        """Let it be told no more: what comes from now on waits for `poll`."""
        if self._reactor is not None:
            for descriptor in {*self._readers, self._writer}:
                self._reactor.forget(descriptor)
            self._reactor = None

    @property
    def quiet(self) -> bool:
        """Whether nothing but an answer can matter to anybody."""
        return not (self.ended or self.surplus or self.premature or self.leaving)

    @property
    def sound(self) -> bool:
        """Whether the container can be trusted with another call after a reply."""
        return not (self.surplus or self.ended or self.leaving or self._deaf or self._unsent)

    def say(self, line: bytes) -> bool:
        """Start to send a line; False if the container said something, or ended, and nothing was sent.

        If not all of it fits at once, `hear` sends the rest.
        """
        # What a fresh container says is about its start: it was never asked, so it cannot answer late.
        if self.calls and not (self.sound and self.container.silent()):
            return False
        try:
            sent = self.container.send(line)
        except OSError:
            return False
        if self.calls:
            self._out = self._err = None
        self.calls += 1
        self._asked = True
        if sent < len(line):
            self._unsent = memoryview(line)[sent:]
            self._watch_writer()
        return True

    def poll(self) -> Events:
        """What there is to hear now."""
        return self._poller.poll(0)

    def hear(self, events: Events) -> Answer:
        """Take in what is ready; the answer to what was said last, when it is there."""
        leaving, wrote = self.leaving, False
        answer: Answer = None
        if len(events) > 1:
            events.sort(key=lambda event: self._order.get(event[0], -1))
        for fd, _ in events:
            if fd in self._readers:
                for stream, data in self.container.receive(fd):
                    if not data:
                        self._over(stream, fd)
                    elif stream == STDOUT:
                        wrote = True
                        answer = self._stdout(data) or answer
                    else:
                        if self._err is None:
                            self._err = Tail()
                        self._err.add(data)
            if self._unsent is not None and fd == self._writer:
                self._send()
        if leaving and not wrote:
            self.ended = True
        return answer

    def tails(self) -> tuple[str, str]:
        """What stdout and stderr said besides replies."""
        if unfinished := self._lines.unfinished():
            self._keep(unfinished)
        return (self._out.text() if self._out else "", self._err.text() if self._err else "")

    def _stdout(self, data: bytes) -> Success | Failure | BadReply | None:
        answer: Success | Failure | BadReply | None = None
        try:
            for line in self._lines.feed(data):
                if not self._asked:
                    self._stray(line)
                    continue
                answer = parse_reply(line)
                if answer is None:
                    self._keep(line)
                else:
                    self._asked = False
                    self.answered = True
        except BadReply as bad:
            self._asked = False
            self._keep(data)
            return bad
        if not self._asked and self._lines:
            self._stray(b"")
        return answer

    def _stray(self, line: bytes) -> None:
        """Something that nobody asked for."""
        self._keep(line)
        if self.calls:
            self.surplus = True
            return
        self._boot_bytes += len(line)
        try:
            self.premature |= self._boot_bytes > MAX_BOOT_CHATTER or parse_reply(line) is not None
        except BadReply:
            self.premature = True

    def _keep(self, data: bytes) -> None:
        if self._out is None:
            self._out = Tail()
        self._out.add(data)

    def _over(self, stream: int, fd: int) -> None:
        if fd not in self._readers:
            return
        self._poller.unregister(fd)
        self._readers.remove(fd)
        if self._reactor is not None:
            self._reactor.forget(fd)
        if stream == EXITED:
            # What it wrote before may still wait; a child of it may hold stdout open for ever.
            self.leaving = True
        elif stream == STDOUT:
            self.ended = True

    def _send(self) -> None:
        assert self._unsent is not None
        try:
            sent = self.container.send(self._unsent)
        except OSError:
            # It closed its stdin. It may have answered all the same, but it is asked nothing more.
            self._deaf = True
            self._unsent = None
        else:
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
        if self._unsent is None:
            self._watch_writer()

    def _events(self, descriptor: int) -> int:
        """What it is watched for."""
        wants = select.POLLIN if descriptor in self._readers else 0
        return wants | select.POLLOUT if descriptor == self._writer and self._unsent is not None else wants

    def _watch_writer(self) -> None:
        """After there came to be something to send, or all was sent."""
        writer = self._writer
        watch = self._unsent is not None
        if writer in self._readers:
            self._poller.modify(writer, self._events(writer))
            if self._reactor is not None:
                self._reactor.change(writer, self._events(writer))
        elif watch:
            self._poller.register(writer, select.POLLOUT)
            if self._reactor is not None and self._owner is not None:
                self._reactor.watch(writer, select.POLLOUT, self._owner)
        else:
            self._poller.unregister(writer)
            if self._reactor is not None:
                self._reactor.forget(writer)
