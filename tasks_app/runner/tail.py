from __future__ import annotations

HEAD = 16 * 1024
REST = 48 * 1024


class Tail:
    """What a stream said, kept within 64 KiB: its first 16 KiB and its last 48 KiB."""

    __slots__ = ("_head", "_rest", "_size")

    def __init__(self) -> None:
        self._head = b""
        self._rest = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        room = HEAD - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= REST:
            self._rest = bytearray(data[-REST:])
        elif data:
            self._rest += data
            # Not at every turn: a cut moves 48 KiB.
            if len(self._rest) > 2 * REST:
                del self._rest[:-REST]

    def text(self) -> str:
        """Text that any database takes: what is no UTF-8, and NULs, are replaced; a cut is marked."""
        rest = bytes(self._rest[-REST:])
        cut = self._size - len(self._head) - len(rest)
        gap = f"\n[... {cut} bytes cut ...]\n".encode() if cut else b""
        return (self._head + gap + rest).decode(errors="replace").replace("\0", "\ufffd")
