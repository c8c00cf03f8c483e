"""Which files a command names, and what identifies their contents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_app.handlers import handlers_toml
from tasks_app.handlers.handlers_toml import Defaults, content_digest, load


def test_a_command_names_its_program_and_scripts_below_the_folder_unless_it_runs_in_an_image(
    tmp_path: Path,
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.py", "deep/b.py", "deep/program", "written"):
        (tmp_path / name).write_text(name)
    file = tmp_path / "handlers.toml"
    file.write_text(
        '[handlers.here]\ncommand = ["python", "-u", "a.py", "./deep/../deep/b.py", "../other.py", "/etc/passwd.py"]\n'
        '[handlers.program]\ncommand = ["deep/program", "written"]\n'
        '[handlers.none]\ncommand = ["cat", "not-there.py"]\n'
        '[handlers.image]\nimage = "x"\ncommand = ["python", "a.py"]\n'
    )
    found = load(file, Defaults())
    there = {path for path, digest in found.files.items() if digest}
    assert there == {file, tmp_path / "a.py", tmp_path / "deep/b.py", tmp_path / "deep/program"}
    assert [bool(handler.sources) for handler in found.values()] == [True, True, False, False]
    assert len(found.revision) == 12


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert [content_digest(tmp_path / name) for name in ("fifo", "missing", ".", "x" * 5000)] == [""] * 4


def test_a_file_is_read_again_only_once_its_stat_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text("one")
    monkeypatch.setattr(handlers_toml, "RECENT_SECONDS", -3600.0)  # written long ago
    first = content_digest(program)
    monkeypatch.setattr(handlers_toml, "_opened", None)
    assert content_digest(program) == first
    monkeypatch.undo()
    program.write_text("two, longer")
    assert content_digest(program) not in ("", first)
