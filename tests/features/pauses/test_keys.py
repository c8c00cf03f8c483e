"""Who pauses by an API key, and which types it can pause."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks_app.audit import AuditEntry
from tasks_app.keys.api_keys import ApiKey
from tasks_app.queue.node_models import HandlerPause
from tests.keys.rows import Holder

pytestmark = [pytest.mark.django_db, pytest.mark.database]

PAUSE, RESUME = "/api/handlers/echo/pause", "/api/handlers/echo/resume"


def test_the_name_of_the_key_is_who_paused() -> None:
    holder = Holder("night shift", scopes=["operate"])
    assert holder.ask("POST", PAUSE, "").json()["paused"]["by"] == "night shift"
    assert AuditEntry.objects.get().actor == "night shift" and AuditEntry.objects.get().via == "api"
    ApiKey.objects.all().delete()
    assert HandlerPause.objects.get().paused_by == "night shift"


def test_for_a_key_with_types_another_type_does_not_exist() -> None:
    holder = Holder(types=["prime"])
    for path in (PAUSE, RESUME):
        answer = holder.ask("POST", path, "")
        assert (answer.status_code, "echo, " in answer.json()["error"]) == (404, False)
    assert not HandlerPause.objects.exists()
    assert holder.ask("POST", "/api/handlers/prime/pause", "").status_code == 200


@pytest.mark.parametrize(
    ("grant", "status"),
    [({"types": ["prime"]}, 404), ({"scopes": ["tasks:read"]}, 403), ({"scopes": ["operate"], "types": ["gone"]}, 204)],
)
def test_the_pause_of_a_type_that_no_file_has_any_more_ends_by_a_key_for_it_that_may_operate(
    grant: dict[str, list[str]], status: int
) -> None:
    HandlerPause.objects.create(handler="gone", paused_by="ada", paused_at=datetime.now(UTC))
    assert Holder("late shift", **grant).ask("POST", "/api/handlers/gone/resume", "").status_code == status
    assert HandlerPause.objects.exists() == (status != 204)
    audited = list(AuditEntry.objects.filter(action="resume").values_list("actor", "via", "target"))
    assert audited == ([("late shift", "api", "gone")] if status == 204 else [])
