"""The figures as JSON: the numbers of /metrics, laid out for people and scripts."""

from __future__ import annotations

from typing import Any

from tasks_app.metrics.figures import Figures
from tasks_app.metrics.totals import Totals


def summary(figures: Figures) -> dict[str, Any]:
    """The JSON of /api/metrics. Durations in seconds."""
    totals = figures.totals
    return {
        "tasks_received": totals.sum("received"),
        "tasks_processed_success": totals.sum("completed"),
        "tasks_processed_failed": totals.sum("failed"),
        "tasks_deleted": totals.sum("deleted"),
        "tasks_unaccounted": figures.unaccounted,
        "queue_size": figures.queue_size,
        "daemon_healthy": bool(figures.nodes),
        "nodes_alive": len(figures.nodes),
        "nodes_draining": sum(node.draining for node in figures.nodes),
        "bells_rung": totals.sum("bells", "rung"),
        "bells_heard": totals.sum("bells_heard"),
        "http_responses": totals.sum("http"),
        "age_seconds": round(figures.age, 3),
        "handlers": {name: _handler(figures, name) for name in figures.handlers},
    }


def _handler(figures: Figures, name: str) -> dict[str, Any]:
    one, totals = figures.handlers[name], figures.totals
    attempts = totals.summed("attempts", name)
    return {
        "received": totals.sum("received", name),
        "success": totals.sum("completed", name),
        "failed": totals.sum("failed", name),
        "failures": totals.summed("failed", name),
        "deleted": totals.sum("deleted", name),
        "stored": figures.stored(name),
        "pending": one.pending,
        "oldest_ready_seconds": round(one.oldest, 3),
        "attempts": attempts,
        "retries": totals.sum("retried", name),
        "redrives": totals.sum("redriven", name),
        "releases": attempts.get("released", 0),
        "leases_lost": totals.sum("leases_lost", name),
        "results_stale": totals.sum("stale", name),
        "slots": one.slots,
        "active": one.active,
        "idle": one.idle,
        "container_starts": totals.sum("container_starts", name),
        "container_deaths": totals.summed("container_deaths", name),
        "processing_seconds": _times(totals, "run", name),
        "wait_seconds": _times(totals, "wait", name),
        "overhead_seconds": _times(totals, "over", name),
        "problems": list(one.problems),
    }


def _times(totals: Totals, histogram: str, name: str) -> dict[str, float]:
    """A handler's histogram over all outcomes: how many observations, and their sum."""
    found = [one for labels, one in totals.distributions(histogram).items() if labels[:1] == (name,)]
    return {"count": sum(one.count for one in found), "sum": round(sum(one.sum for one in found), 6)}
