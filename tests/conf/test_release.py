"""The version of the platform tells processes with different code apart, and no others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.conf import RELEASE, reading, version


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose version is asked for."""
    (tmp_path / "tasks_app" / "node").mkdir(parents=True)
    (tmp_path / "taskdaemon_site").mkdir()
    (tmp_path / "tasks_app" / "node" / "plan.py").write_text("A = 1\n")
    (tmp_path / "taskdaemon_site" / "settings.py").write_text("")
    monkeypatch.setattr(reading, "CODE", tmp_path)
    version.cache_clear()
    yield tmp_path
    version.cache_clear()  # later tests of this process ask for its own version


def of(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(reading, "CODE", project)
    return version.__wrapped__()


def test_a_copy_of_the_code_has_the_same_version_whatever_else_lies_beside_it(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of(code, monkeypatch)
    copy = shutil.copytree(code, code / "elsewhere")
    (copy / "tasks_app" / "node" / "plan.cpython-313.pyc").write_bytes(b"compiled")
    (copy / "tests.py").write_text("")
    (copy / "tasks_app" / ".#urls.py").symlink_to("somebody@a-host.4711")  # as Emacs locks what it edits
    assert of(copy, monkeypatch) == before
    assert before.startswith(f"{RELEASE}+") and len(before) <= 40, "as long as the column"


@pytest.mark.parametrize("change", ["a line", "a name", "the settings"])
def test_another_line_or_name_of_a_file_is_another_version(
    code: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, plan = of(code, monkeypatch), code / "tasks_app" / "node" / "plan.py"
    match change:
        case "a line":
            plan.write_text("A = 2\n")
        case "a name":
            plan.rename(plan.with_name("another.py"))
        case _:
            (code / "taskdaemon_site" / "settings.py").write_text("DEBUG = False\n")
    assert of(code, monkeypatch) != before


def test_a_process_keeps_its_version_while_its_files_are_replaced(code: Path) -> None:
    before = version()
    (code / "tasks_app" / "node" / "plan.py").write_text("A = 3\n")
    assert version() == before
