"""A feature is a folder, a line and a migration: notes are added to a platform that has tasks, used, and taken away."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import until
from tests.features.toy.platform import Platform, done

pytestmark = [pytest.mark.long("starts of workers", seconds=20), pytest.mark.one_leg("what a feature is made of")]

PASSWORD = secrets.token_urlsafe(48)


def test_notes_are_added_used_and_taken_away(deployment: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon, platform = deployment(DAEMON_ADMIN_PASSWORD=PASSWORD), Platform(tmp_path, "notes")
    daemon.handler("act")
    daemon.program = platform.program
    up = daemon.up()
    ended = daemon.until_final(daemon.post("act"))["id"]
    waiting = daemon.http.post("/queue", json={"type": "act", "delay": 3600}).json()["task_id"]
    assert up.stop() == 0

    platform.add(daemon)
    up = daemon.up()
    use_notes(daemon, ended, waiting)
    assert up.stop() == 0

    platform.take_the_line_out(daemon)
    platform.take_the_folder_out(daemon)
    up = daemon.up()
    assert daemon.http.get(f"/api/tasks/{ended}/notes").status_code == 404
    assert daemon.task(ended)["status"] == "completed" and daemon.until_final(daemon.post("act"))
    assert up.stop() == 0


def use_notes(daemon: Daemon, kept: str, gone: str) -> None:
    """By the API, the admin and the command; a node's side job forgets those on a task that is gone."""
    notes = f"/api/tasks/{kept}/notes"
    assert daemon.http.post(notes, json={"text": "ask Ada"}).json() == {"text": "ask Ada", "by": "(no API key)"}
    assert daemon.http.post(notes, json={"text": ""}).status_code == 400
    assert "noted: ask Bob" in done(daemon.manage("note", gone, "ask Bob"))
    assert daemon.http.get(f"/api/tasks/{gone}/notes").json()[0]["text"] == "ask Bob"
    assert "/api/tasks/{task_id}/notes" in daemon.http.get("/openapi.json").json()["paths"]
    with daemon.log_in(PASSWORD) as browser:
        page = browser.get("/admin/tasks_app/note/").text
    assert "ask Ada" in page and "ask Bob" in page
    assert daemon.http.delete(f"/api/tasks/{gone}").status_code == 204
    until(lambda: not daemon.rows("SELECT 1 FROM taskdaemon_note WHERE text = 'ask Bob'"), what="the side job")
    assert [note["text"] for note in daemon.http.get(notes).json()] == ["ask Ada"]
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"
    assert daemon.http.get("/health").json()["status"] == "healthy"
