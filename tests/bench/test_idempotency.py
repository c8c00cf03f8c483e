"""What is measured with a key has a key, and repeats store nothing."""

from __future__ import annotations

import pytest

from bench import idempotency
from bench.deployment import Deployment
from bench.servers import Servers

pytestmark = pytest.mark.long("load", seconds=30)

SLICES, POSTS = 1, 20


def test_each_kind_of_post_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, int] = {}
    leave = Deployment.__exit__

    def count(served: Deployment, *error: object) -> None:
        for table in ("task", "idempotency_key"):
            stored[table] = served.store.rows(f"SELECT count(*) AS n FROM taskdaemon_{table}")[0]["n"]
        leave(served, *error)

    monkeypatch.setattr(Deployment, "__exit__", count)
    with Servers() as servers:
        idempotency.measure(servers, "sqlite", SLICES, POSTS)
    # One turn more warms up. Of the three kinds, plain and keyed posts store a task each.
    assert stored == {"task": 2 * (SLICES + 1) * POSTS, "idempotency_key": (SLICES + 1) * POSTS}
    lines = capsys.readouterr().out.splitlines()
    assert [line[10:25].strip() for line in lines] == ["without a key", "with a key", "repeats"], lines
