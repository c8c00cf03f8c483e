"""The images of containers: the ids behind their names, and the pulls of images that the engine lacks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from tasks_app.runner.backoff import Backoff
from tasks_app.runner.engine import NotYet, Unavailable

log = logging.getLogger(__name__)

MIN_PULL_PAUSE_SECONDS = 2.0
MAX_PULL_PAUSE_SECONDS = 60.0
#: The names of images that exist only in an engine begin with it. Docker takes it for a registry on its own machine.
LOCAL = "localhost/"


@dataclass
class _Pull:
    began: float
    backoff: Backoff = field(default_factory=lambda: Backoff(MIN_PULL_PAUSE_SECONDS, MAX_PULL_PAUSE_SECONDS))
    again_at: float = 0.0
    reason: str | None = None
    running: bool = False


class Images:
    """The image that each name means, and pulls of missing images, each in its own thread: nothing waits for a pull.

    A name means the image of its first start until it is resolved again: containers of one handler do not differ
    because a tag has moved meanwhile. For the threads of all slots, and the thread that reloads.
    """

    def __init__(self, pull: Callable[[str], None]) -> None:
        """`pull` may block, and raises Unavailable with the reason if it fails."""
        self._pull = pull
        #: Held by the threads of slots and the threads that pull; they write each pull.
        self._lock = threading.Lock()
        self._pulls: dict[str, _Pull] = {}
        #: The ids by name. Each change is atomic.
        self._ids: dict[str, str] = {}

    def id_of(self, image: str) -> str | None:
        """The id of the image that the name means; None if it has not been resolved."""
        return self._ids.get(image)

    def resolved(self, image: str, identity: str) -> str:
        """Note the image that the name means on the engine now. Returns the id that the name means here."""
        return self._ids.setdefault(image, identity)

    def gone(self, image: str) -> Unavailable:
        """Note that the engine has lost the image, or does not know the name. Returns the error to raise."""
        if (identity := self._ids.pop(image, None)) is None:
            return self.missing(image)
        log.warning("the image %s of %s is gone from the engine: the name is resolved anew", identity[:19], image)
        return NotYet(f"the engine no longer has what {image} meant ({identity[:19]}); the name is resolved anew")

    def renew(self, identities: Mapping[str, str | None]) -> Set[str]:
        """Set the ids that names mean now; None: the engine does not know the name, which keeps its id. Returns the
        names that mean another image than before. Failed pulls of all given names are tried again."""
        moved = set()
        for image, identity in identities.items():
            before = self._ids.get(image)
            if identity is not None:
                self._ids[image] = identity
            if identity is not None and before not in (None, identity):
                log.info("%s means another image now: %s instead of %s", image, identity[:19], str(before)[:19])
                moved.add(image)
            with self._lock:
                if (pull := self._pulls.get(image)) is not None and not pull.running:
                    del self._pulls[image]
        return moved

    def missing(self, image: str) -> Unavailable:
        """Pull the missing image, unless a pull runs or the image is local. Returns the error to raise meanwhile."""
        if image.startswith(LOCAL):
            return Unavailable(
                f"its image {image} is missing; build it (docker build -t {image} FOLDER), or correct the name"
            )
        now = time.monotonic()
        with self._lock:
            pull = self._pulls.setdefault(image, _Pull(now))
            if not pull.running and now >= pull.again_at:
                pull.running, pull.began = True, now
                threading.Thread(target=self._fetch, args=(image, pull), name=f"pull-{image}"[:60], daemon=True).start()
            if pull.reason is not None:
                return Unavailable(f"its image {image} is missing and cannot be pulled: {pull.reason}")
            return NotYet(f"its image {image} is being pulled")

    def found(self, image: str) -> None:
        """The engine has the image: forget earlier failures."""
        if self._pulls:
            with self._lock:
                self._pulls.pop(image, None)

    def being_pulled(self, image: str) -> NotYet | None:
        """The error for an image that is being pulled, without a request to the engine; None otherwise."""
        pull = self._pulls.get(image)
        if pull is not None and pull.running and pull.reason is None:
            return NotYet(f"its image {image} is being pulled")
        return None

    def _fetch(self, image: str, pull: _Pull) -> None:
        reason = None
        try:
            self._pull(image)
        except Unavailable as error:
            reason = str(error)
        except Exception as error:
            log.exception("pulling %s failed", image)
            reason = f"{type(error).__name__}: {error}"
        with self._lock:
            if reason is None:
                pull.backoff.succeeded()
                log.info("image %s was pulled in %.0f s", image, time.monotonic() - pull.began)
            else:
                pull.again_at = time.monotonic() + pull.backoff.failed()
            pull.reason = reason
            pull.running = False
