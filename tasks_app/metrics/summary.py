"""A reading as JSON: the numbers of /metrics for people and scripts."""

from __future__ import annotations

from typing import Any

from tasks_app.metrics.system_reading import SystemReading
from tasks_app.metrics.totals import Totals


def summary(reading: SystemReading) -> dict[str, Any]:
    """The JSON of /api/metrics. Durations in seconds."""
    totals = reading.totals
    return {
        "tasks_received": totals.sum("received"),
        "tasks_processed": totals.sum("completed") + totals.sum("failed"),
        "tasks_processed_success": totals.sum("completed"),
        "tasks_processed_failed": totals.sum("failed"),
        "tasks_failed": totals.sum("failed"),
        "tasks_deleted": totals.sum("deleted"),
        "tasks_unaccounted": reading.unaccounted,
        "queue_size": reading.queue_size,
        "daemon_healthy": reading.healthy,
        "workers": len(reading.nodes),
        "nodes_alive": len(reading.nodes),
        "nodes_draining": sum(not node.taking for node in reading.nodes),
        "node_versions": {node.name: node.version for node in reading.nodes},
        "notifications_sent": totals.sum("bells", "rung"),
        "notifications_received": totals.sum("bells_heard"),
        # Aliases of the two keys above; to be removed in the next version.
        "bells_rung": totals.sum("bells", "rung"),
        "bells_heard": totals.sum("bells_heard"),
        "http_responses": totals.sum("http"),
        "age_seconds": round(reading.age, 3),
        "handlers": {name: _handler(reading, name) for name in reading.handlers},
    }


def _handler(reading: SystemReading, name: str) -> dict[str, Any]:
    one, totals = reading.handlers[name], reading.totals
    attempts = totals.summed("attempts", name)
    return {
        "received": totals.sum("received", name),
        "success": totals.sum("completed", name),
        "failed": totals.sum("failed", name),
        "failures": totals.summed("failed", name),
        "deleted": totals.sum("deleted", name),
        "stored": reading.stored(name),
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
        "processing_seconds": _duration(totals, "run", name),
        "wait_seconds": _duration(totals, "wait", name),
        "overhead_seconds": _duration(totals, "over", name),
        "paused": one.paused is not None,
        "problems": list(one.problems),
    }


def _duration(totals: Totals, histogram: str, name: str) -> dict[str, float]:
    """The number and sum of a handler's observations in a histogram, over all outcomes."""
    found = totals.distributions(histogram, name).values()
    return {"count": sum(one.count for one in found), "sum": round(sum(one.sum for one in found), 6)}
