"""A reading as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tasks_app.metrics.families import families, health
from tasks_app.metrics.system_reading import SystemReading

#: The version of the text format that every scraper supports.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()


def text(reading: SystemReading | None) -> bytes:
    """Prometheus' text format. None, if the database cannot be read: only the metrics that need no database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(lambda: health(False, 1) if reading is None else families(reading)))
    return generate_latest(registry)
