from __future__ import annotations

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 48 * 1024


class Tail:
    """Keeps the first 16 KiB and the last 48 KiB of a stream."""

    __slots__ = ("_head", "_rest", "_size")

    def __init__(self) -> None:
        self._head = b""
        self._rest = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        room = HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= TAIL_BYTES:
            self._rest = bytearray(data[-TAIL_BYTES:])
        elif data:
            self._rest += data
            # Only at twice the size: each cut copies 48 KiB.
            if len(self._rest) > 2 * TAIL_BYTES:
                del self._rest[:-TAIL_BYTES]

    def parts(self) -> list[tuple[bytes, int]]:
        """What is kept, in parts: the bytes of each, and how many were cut before it."""
        rest = bytes(self._rest[-TAIL_BYTES:])
        cut = self._size - len(self._head) - len(rest)
        return [(self._head, 0), (rest, cut)] if cut else [(self._head + rest, 0)]

    def text(self) -> str:
        """Text that any database can store: invalid UTF-8 and NULs are replaced, and a cut is marked."""
        parts = [(f"\n[... {cut} bytes cut ...]\n".encode() if cut else b"") + data for data, cut in self.parts()]
        return b"".join(parts).decode(errors="replace").replace("\0", "\ufffd")
