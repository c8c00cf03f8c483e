"""A feature is a folder, a line and a migration: notes are added to a platform that has tasks, used, and taken away."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import PROJECT, Process, until

pytestmark = [pytest.mark.long("starts of workers", seconds=20), pytest.mark.one_leg("what a feature is made of")]

FOLDER = Path(__file__).parent / "notes"
PASSWORD = secrets.token_urlsafe(48)
LINE = '    "tasks_app.features.notes.Notes",\n'


class Platform:
    """A copy of the project, which a deployment runs."""

    def __init__(self, top: Path) -> None:
        shutil.copytree(PROJECT / "tasks_app", top / "tasks_app")
        for name in ("taskdaemon_site", "manage.py", "pyproject.toml"):
            path = PROJECT / name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, top / name)
        self.program = str(top / "manage.py")
        self.folder, self.migrations = top / "tasks_app/features/notes", top / "tasks_app/migrations"
        self._settings = top / "taskdaemon_site/settings.py"

    def add(self) -> None:
        shutil.copytree(FOLDER, self.folder)
        text = self._settings.read_text()
        above = '    "tasks_app.apps.TasksConfig",\n'
        self._settings.write_text(text.replace(above, above + LINE))

    def take_the_line_out(self) -> None:
        self._settings.write_text(self._settings.read_text().replace(LINE, ""))

    def names(self) -> set[str]:
        """The migrations."""
        return {path.name for path in self.migrations.glob("*.py")}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path)


def done(process: Process) -> str:
    """What a command has said, which went well."""
    assert process.ends() == 0, process.said()
    return process.said()


def test_notes_are_added_used_and_taken_away(deployment: Callable[..., Daemon], platform: Platform) -> None:
    daemon = deployment(DAEMON_ADMIN_PASSWORD=PASSWORD)
    daemon.handler("act")
    daemon.program = platform.program
    up = daemon.up()
    ended = daemon.until_final(daemon.post("act"))["id"]
    waiting = daemon.http.post("/queue", json={"type": "act", "delay": 3600}).json()["task_id"]
    assert up.stop() == 0

    platform.add()
    before = platform.names()
    done(daemon.manage("makemigrations", "tasks_app", "--name", "notes"))
    assert len(platform.names() - before) == 1
    done(daemon.manage("migrate"))
    up = daemon.up()
    use_notes(daemon, ended, waiting)
    assert up.stop() == 0

    platform.take_the_line_out()
    done(daemon.manage("makemigrations", "--check"))
    shutil.rmtree(platform.folder)
    done(daemon.manage("makemigrations", "tasks_app", "--name", "no_notes"))
    done(daemon.manage("migrate"))
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
