from __future__ import annotations

from tasks_app.runner.errors import BadReply
from tasks_app.runner.wire import MAX_REPLY_BYTES

SLACK_BYTES = 64 * 1024


class Lines:
    """Splits a byte stream into lines. Buffers one unfinished line, of at most MAX_REPLY_BYTES + SLACK_BYTES."""

    __slots__ = ("_splits", "rest")

    def __init__(self) -> None:
        self.rest = bytearray()
        """What came after the last line end."""
        self._splits = True

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Lines that cannot hold an object may come joined as one.

        Raises BadReply if an unfinished line is too long.
        """
        rest = self.rest
        if not self._splits:
            data = bytes(rest) + data
            rest.clear()
            return [data]
        # Searches only the new bytes for line ends: a reply of 10 MB comes in 160 pieces and more.
        end = data.rfind(b"\n") + 1
        if not rest:
            if end == len(data):
                return self._split(data)
            rest += data[end:]
            return self._split(data[:end]) if end else []
        if not end:
            rest += data
            if len(rest) > MAX_REPLY_BYTES + SLACK_BYTES:
                raise BadReply(f"{len(rest)} bytes of stdout without a line end; a reply has at most {MAX_REPLY_BYTES}")
            return []
        first = data.find(b"\n") + 1
        rest += data[:first]
        lines = [bytes(rest)]
        rest.clear()
        if first < end:
            lines += self._split(data[first:end])
        rest += data[end:]
        return lines

    def stop_splitting(self) -> None:
        """Have `feed` return what it gets, after an unfinished line, so that nothing more is buffered."""
        self._splits = False

    def unfinished(self) -> bytes:
        """The last 64 KiB of `rest`."""
        return bytes(self.rest[-SLACK_BYTES:])

    @staticmethod
    def _split(block: bytes) -> list[bytes]:
        # Joins lines without `{`, so that a flood of them does not cost a loop turn each.
        if block.find(b"\n") + 1 == len(block) or b"{" not in block:
            return [block]
        return block.splitlines(keepends=True)
