"""The keys of deployments on Redis, which live for ever: for `manage.py clean --broker`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection

from tasks_app.broker.celery_settings import REDIS_SCHEMES, tls_options, transport_options


class Unanswered(Exception):
    """Redis does not answer, or refuses a command; the message says how."""


class RedisKeys:
    """The keys on the Redis server at a broker's URL that have `taskdaemon.ID` in their names: queues and bindings."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, ssl=tls_options(url), transport_options=transport_options(url))

    @staticmethod
    def are_at(url: str) -> bool:
        """Whether the URL names a Redis server."""
        return url.partition("://")[0] in REDIS_SCHEMES

    def of(self, deployments: Iterable[str]) -> Iterator[tuple[str, list[bytes]]]:
        """The keys of each of these deployments that has keys. Raises Unanswered."""
        for each in deployments:
            with _unanswered_on_error():
                keys = list(self._redis().scan_iter(f"*taskdaemon.{each}*", count=1000))
            if keys:
                yield each, keys

    def delete(self, keys: list[bytes]) -> str | None:
        """Delete these keys. Returns the reason if that fails."""
        try:
            with _unanswered_on_error():
                self._redis().delete(*keys)
        except Unanswered as error:
            return str(error)
        return None

    def close(self) -> None:
        """Disconnect."""
        self._connection.release()

    def _redis(self) -> Any:
        channel: Any = self._connection.default_channel
        return channel.client


@contextmanager
def _unanswered_on_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the classes of kombu and of redis have no base in common
        raise Unanswered(str(error) or type(error).__name__) from None
