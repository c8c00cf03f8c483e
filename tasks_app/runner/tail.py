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

    def text(self) -> str:
        """Text that any database can store: invalid UTF-8 and NULs are replaced, and a cut is marked."""
        rest = bytes(self._rest[-TAIL_BYTES:])
        cut = self._size - len(self._head) - len(rest)
        gap = f"\n[... {cut} bytes cut ...]\n".encode() if cut else b""
        return (self._head + gap + rest).decode(errors="replace").replace("\0", "\ufffd")
