"""Parses Prometheus text."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str | bytes) -> dict[Sample, float]:
    """The value of every sample, by its name and labels."""
    decoded = text if isinstance(text, str) else text.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(decoded)
        for sample in family.samples
    }


def value(found: dict[Sample, float], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    required = set(labels.items())
    return sum(number for (known, its), number in found.items() if known == name and required <= its)


def by(found: dict[Sample, float], name: str, label: str, **labels: str) -> dict[str, float]:
    """A metric's samples that have these labels and are not 0, by another label."""
    required = set(labels.items())
    return {
        dict(its)[label]: number
        for (known, its), number in found.items()
        if known == name and required <= its and number
    }
