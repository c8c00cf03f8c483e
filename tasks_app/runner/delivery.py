from __future__ import annotations

from tasks_app.runner.engine import Container

LINE_END_BYTES = 2
"""The `}` and the LF of a line. Without them a handler has neither valid JSON nor a line."""


class Delivery:
    """Sends one line to a handler: first its beginning, and the rest once the handler has read that.

    A handler writes everything that belongs to one line before it reads the next. Once it has read the beginning,
    whatever is on stdout was therefore written before, and is no reply to this line. The beginning is the line without
    its last two bytes, or the first page of a long line.
    """

    __slots__ = ("_container", "_window", "blind", "held", "sent", "unsent")

    def __init__(self, container: Container) -> None:
        self._container = container
        self._window = 0
        self.unsent: memoryview | None = None
        """The bytes that wait for room in the pipe."""
        self.held: memoryview | None = None
        """The rest of the line, while it waits for the handler to read the beginning."""
        self.sent = 0
        """Bytes of the line that the pipe has taken."""
        self.blind = False
        """True if the line was sent whole because the container cannot tell when its handler reads."""

    def begin(self, line: bytes, hold_back: bool) -> None:
        """Send the beginning of the line, or all of it without `hold_back`. Raises OSError if nothing can be sent."""
        self._window = window = self._container.window() if hold_back else 0
        self.sent = 0
        self.blind = hold_back and not window
        if window:
            end = min(len(line) - LINE_END_BYTES, window)
            self.unsent, self.held = memoryview(line)[:end], memoryview(line)[end:]
        else:
            self.unsent = memoryview(line)
            if not hold_back:
                self._container.widen()
        self.send()

    @property
    def pending(self) -> bool:
        """True while bytes remain to be sent, now or after the beginning has been read."""
        return self.unsent is not None or self.held is not None

    @property
    def read(self) -> bool | None:
        """True if the handler has read a byte of the line; None if that is unknown. Valid after the container's end."""
        unread = self._container.unread()
        return None if unread is None else unread < self.sent

    @property
    def begun(self) -> bool:
        """True if the handler may have read a byte of the line. Valid after the container's end too."""
        return self.read is not False

    def send(self) -> None:
        """Send as much of the unsent bytes as the pipe takes. Raises OSError."""
        assert self.unsent is not None
        taken = self._container.send(self.unsent)
        self.sent += taken
        self.unsent = self.unsent[taken:] if taken < len(self.unsent) else None

    def finish(self) -> None:
        """Send the rest, after the beginning has been read. Raises OSError."""
        assert self.held is not None
        if len(self.held) > self._window:
            self._container.widen()
        self.unsent, self.held = self.held, None
        self.send()

    def cancel(self) -> None:
        """Send nothing more."""
        self.unsent = self.held = None
