"""The figures as Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tasks_app.metrics.families import families, health
from tasks_app.metrics.figures import Figures

#: The version of the text format that everything that reads metrics can read; our names need no later one.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()


def text(figures: Figures | None) -> bytes:
    """Prometheus' text format. Without figures, because the database is away, what can be said without it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(lambda: health(False, 1) if figures is None else families(figures)))
    return generate_latest(registry)
