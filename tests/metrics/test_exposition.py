"""/metrics and /api/metrics: the contract's names, the same numbers in both, and valid Prometheus text."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from django.test import Client

from tasks_app import conf
from tasks_app.metrics import system_reading as module
from tasks_app.metrics.families import text
from tasks_app.metrics.local_counters import process
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.redrive import redrive
from tasks_app.runner.endings import OutcomeKind
from testkit.needs import program
from testkit.rows import node
from tests.metrics.samples import Sample, by, samples, value
from tests.metrics.work import end, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def client() -> Client:
    return Client(HTTP_HOST="127.0.0.1")


def some_of_everything(client: Client) -> None:
    """Produce a value for every metric."""
    node("node-1")
    node("node-2", draining=True, version=None, pools={"prime": {"slots": 1, "warm": 1, "problem": "it ends at once"}})
    submit(9)
    submit(1, "prime")
    good, late, bad, again, back, gone, lost, stale = take(8)
    end([good, late])
    end([bad], OutcomeKind.ERROR, retryable=False)
    end([again], OutcomeKind.CRASH)
    end([back], OutcomeKind.RELEASED)
    delete(UUID(gone.id))
    delete(UUID(stale.id))
    end([stale])
    redrive(UUID(bad.id))
    take(1, node="lost")
    rescue(["lost"], expired_leases=False)
    cancel(UUID(lost.id))
    for series in ("container_starts|echo", "container_deaths|echo|oom", "bells_heard|echo", "bells_failed"):
        process.add(series, 3)
    for path in ("/health", "/metrics", "/api/metrics", "/nothing"):
        client.get(path)
    process.flush()


def test_the_contracts_names_are_there_with_exactly_its_labels(client: Client) -> None:
    some_of_everything(client)
    module._last = None
    found = samples(client.get("/metrics").content)
    names = {(name, tuple(sorted(label for label, _ in labels))) for name, labels in found}
    assert names >= {
        ("tasks_received_total", ()),
        ("queue_size", ()),
        ("container_pool_active", ("handler",)),
        ("container_pool_idle", ("handler",)),
        ("tasks_processed_total", ("status",)),
        ("task_processing_seconds_bucket", ("handler", "le", "outcome")),
        ("task_processing_seconds_sum", ("handler", "outcome")),
        ("daemon_health", ()),
    }
    assert value(found, "tasks_received_total") == 10
    assert by(found, "tasks_processed_total", "status") == {"success": 2, "failed": 2}
    assert value(found, "daemon_health") == 1


def test_the_contracts_names_are_there_before_anything_happened(client: Client) -> None:
    found = samples(client.get("/metrics").content)
    assert {name for name, _ in found} >= {
        "tasks_received_total",
        "queue_size",
        "tasks_processed_total",
        "daemon_health",
    }
    assert {number for (name, _), number in found.items() if name != "metrics_age_seconds"} <= {0.0, 1.0}


def test_api_metrics_says_the_same_numbers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    some_of_everything(client)
    monkeypatch.setattr(module, "REUSE_SECONDS", 60.0)  # both from one reading
    module._last = None
    said = client.get("/api/metrics").json()
    found = samples(client.get("/metrics").content)
    expected = {
        "tasks_received": value(found, "tasks_received_total"),
        "tasks_processed_success": value(found, "tasks_processed_total", status="success"),
        "tasks_processed_failed": value(found, "tasks_processed_total", status="failed"),
        "tasks_failed": value(found, "tasks_processed_total", status="failed"),
        "tasks_processed": sum(value(found, "tasks_processed_total", status=word) for word in ("success", "failed")),
        "workers": value(found, "nodes_alive"),
        "tasks_deleted": value(found, "tasks_deleted_total"),
        "tasks_unaccounted": value(found, "tasks_unaccounted"),
        "queue_size": value(found, "queue_size"),
        "daemon_healthy": bool(value(found, "daemon_health")),
        "nodes_alive": value(found, "nodes_alive"),
        "nodes_draining": value(found, "nodes_draining"),
        "notifications_sent": value(found, "notifications_sent_total"),
        "notifications_received": value(found, "notifications_received_total"),
        "http_responses": value(found, "django_http_responses_total_by_status_view_method_total"),
    }
    assert {name: said[name] for name in expected} == expected
    assert set(said) == {*expected, "age_seconds", "handlers", "node_versions"}
    assert said["node_versions"] == {"node-1": conf.version(), "node-2": None}
    for name, version in (("node-1", conf.version()), ("node-2", "unknown")):
        assert value(found, "taskdaemon_node_info", node=name, version=version) == 1
    assert set(said["handlers"]) == {"echo", "prime"}
    for name, one in said["handlers"].items():
        of = {"handler": name}
        assert {key: number for key, number in one.items() if key != "problems"} == {
            "received": value(found, "handler_tasks_received_total", **of),
            "paused": bool(value(found, "handler_paused", **of)),
            "nodes_draining": value(found, "handler_nodes_draining", **of),
            "success": value(found, "handler_tasks_processed_total", status="success", **of),
            "failed": value(found, "handler_tasks_processed_total", status="failed", **of),
            "failures": by(found, "task_failures_total", "reason", **of),
            "deleted": value(found, "tasks_deleted_total", **of),
            "stored": {
                status: value(found, "tasks_stored", status=status, **of)
                for status in ("pending", "processing", "completed", "failed")
            },
            "pending": value(found, "tasks_stored", status="pending", **of),
            "held": value(found, "tasks_held", **of),
            "oldest_ready_seconds": value(found, "task_oldest_ready_seconds", **of),
            "attempts": by(found, "task_attempts_total", "outcome", **of),
            "retries": value(found, "task_retries_total", **of),
            "redrives": value(found, "task_redrives_total", **of),
            "releases": value(found, "task_releases_total", **of),
            "leases_lost": value(found, "task_leases_lost_total", **of),
            "results_stale": value(found, "task_results_stale_total", **of),
            "slots": value(found, "container_pool_slots", **of),
            "active": value(found, "container_pool_active", **of),
            "idle": value(found, "container_pool_idle", **of),
            "container_starts": value(found, "container_starts_total", **of),
            "container_deaths": by(found, "container_deaths_total", "reason", **of),
            **{
                key: {
                    "count": value(found, f"task_{key}_count", **of),
                    "sum": pytest.approx(value(found, f"task_{key}_sum", **of), abs=0.0006),
                }
                for key in ("processing_seconds", "wait_seconds", "overhead_seconds")
            },
        }


def test_a_histograms_buckets_only_rise_and_end_at_its_count(client: Client) -> None:
    some_of_everything(client)
    found = samples(text(current_reading(refresh=True)))
    buckets: dict[Sample, list[float]] = {}
    for (name, labels), number in found.items():
        if name.endswith("_bucket"):
            others = frozenset(label for label in labels if label[0] != "le")
            buckets.setdefault((f"{name.removesuffix('_bucket')}_count", others), []).append(number)
    assert buckets
    for series, values in buckets.items():
        assert values == sorted(values)
        assert values[-1] == found[series]


def test_every_metric_is_explained_in_the_docs(client: Client) -> None:
    some_of_everything(client)
    exposed = set(re.findall(r"^# TYPE (\w+) ", text(current_reading(refresh=True)).decode(), re.MULTILINE))
    explained = set(re.findall(r"^\| `(\w+)", DOCS.read_text(), re.MULTILINE))
    assert exposed == explained


def test_promtool_finds_no_fault(client: Client) -> None:
    promtool = program("promtool")
    some_of_everything(client)
    for exposed in (text(current_reading(refresh=True)), text(None)):
        found = subprocess.run([promtool, "check", "metrics"], input=exposed, capture_output=True, check=False)
        assert (found.returncode, found.stdout + found.stderr) == (0, b"")


def test_the_text_is_of_the_version_that_every_scraper_reads(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_without_a_database_metrics_report_bad_health() -> None:
    assert value(samples(text(None)), "daemon_health") == 0
    assert value(samples(text(None)), "daemon_problems") == 1
