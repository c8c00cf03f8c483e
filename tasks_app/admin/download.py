"""A file that is made while it is sent. The web server asks for a part once the client has taken the one before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from django.http import StreamingHttpResponse


class Places:
    """Downloads of a process at once. Thread-safe."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = threading.BoundedSemaphore(count)

    def take(self) -> bool:
        """Take a place, if there is one."""
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Give it back."""
        self._free.release()


class Download(StreamingHttpResponse):
    """`parts` are made one at a time, on any thread. It has a place until it is closed."""

    def __init__(self, parts: Iterator[bytes], kind: str, name: str, places: Places) -> None:
        super().__init__(parts, content_type=kind)
        self["Content-Disposition"] = f'attachment; filename="{name}"'
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"  # nginx would store the file
        self._places: Places | None = places

    def close(self) -> None:
        places, self._places = self._places, None
        try:
            super().close()
        finally:
            if places is not None:
                places.release()
