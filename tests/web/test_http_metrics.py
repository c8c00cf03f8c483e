"""HTTP requests are counted by route, method and status. Clients cannot make up labels."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.metrics.local_counters import process
from tasks_app.metrics.system_reading import current_reading
from tests.metrics.conftest import _django_db_marker as _django_db_marker
from tests.metrics.conftest import database as database

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]


def counted() -> dict[tuple[str, ...], int]:
    process.flush()
    return dict(current_reading(refresh=True).totals.by("http"))


@pytest.fixture
def client() -> Client:
    return Client(HTTP_HOST="127.0.0.1")


def test_by_status_route_and_method(client: Client) -> None:
    client.get("/health/live")
    client.get("/health/live/")
    client.head("/health/live")
    client.get("/api/tasks/not-an-id")
    client.get("/api/tasks/another")
    client.delete("/queue")
    assert counted() == {
        ("200", "live", "GET"): 2,
        ("200", "live", "HEAD"): 1,
        ("404", "task", "GET"): 2,
        ("405", "queue", "DELETE"): 1,
    }


def test_what_is_refused_before_any_view_counts_for_its_route() -> None:
    Client(HTTP_HOST="evil.example").get("/health/live")
    Client(HTTP_HOST="127.0.0.1", HTTP_ORIGIN="https://evil.example").post("/queue")
    assert counted() == {("400", "live", "GET"): 1, ("403", "queue", "POST"): 1}


def test_made_up_paths_and_methods_make_no_series_of_their_own(client: Client) -> None:
    for number in range(20):
        client.get(f"/wp-login-{number}.php")
        client.generic(f"BREW{number}", "/queue")
        client.get(f"/static/nothing-{number}.js")
    series = counted()
    assert series[("404", "unknown", "GET")] == 20
    assert series[("405", "queue", "other")] == 20
    assert len(series) == 3


def test_the_time_to_answer_is_kept_by_the_same_labels(client: Client) -> None:
    client.get("/health/live")
    process.flush()
    took = current_reading(refresh=True).totals.distributions("http_seconds")
    assert list(took) == [("200", "live", "GET")]
    assert took["200", "live", "GET"].count == 1
    assert took["200", "live", "GET"].sum > 0


def test_a_request_itself_writes_no_counts_to_the_database(client: Client) -> None:
    client.get("/health/live")
    assert current_reading(refresh=True).totals.sum("http") == 0
    process.flush()
    assert current_reading(refresh=True).totals.sum("http") == 1
