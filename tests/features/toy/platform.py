"""A copy of the project, which a deployment runs, and to which a toy of this folder is added."""

from __future__ import annotations

import shutil
from pathlib import Path

from testkit.daemon import Daemon
from testkit.process import PROJECT, Process

FOLDER = Path(__file__).parent


def done(process: Process) -> str:
    """What a command has said, which went well."""
    assert process.ends() == 0, process.said()
    return process.said()


class Platform:
    """The copy. `toy`: the name of a folder beside this file, whose feature has the same name."""

    def __init__(self, top: Path, toy: str) -> None:
        for name in ("tasks_app", "client"):
            shutil.copytree(PROJECT / name, top / name)
        for name in ("taskdaemon_site", "manage.py", "pyproject.toml"):
            path = PROJECT / name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, top / name)
        self.top = top
        self.program = str(top / "manage.py")
        self.folder, self._migrations = top / "tasks_app/features" / toy, top / "tasks_app/migrations"
        self._toy = FOLDER / toy
        self._line = f'    "tasks_app.features.{toy}.{toy.capitalize()}",\n'
        self._settings = top / "taskdaemon_site/settings.py"

    def add(self, daemon: Daemon) -> None:
        """The folder, the line, and one migration."""
        shutil.copytree(self._toy, self.folder)
        text = self._settings.read_text()
        above = '    "tasks_app.apps.TasksConfig",\n'
        self._settings.write_text(text.replace(above, above + self._line))
        before = {*self._migrations.glob("*.py")}
        done(daemon.manage("makemigrations", "tasks_app", "--name", self._toy.name))
        assert len({*self._migrations.glob("*.py")} - before) == 1
        done(daemon.manage("migrate"))

    def take_the_line_out(self, daemon: Daemon) -> None:
        """What it has stored stays."""
        self._settings.write_text(self._settings.read_text().replace(self._line, ""))
        done(daemon.manage("makemigrations", "--check"))

    def take_the_folder_out(self, daemon: Daemon) -> None:
        """With what it has stored."""
        shutil.rmtree(self.folder)
        done(daemon.manage("makemigrations", "tasks_app", "--name", f"no_{self._toy.name}"))
        done(daemon.manage("migrate"))
