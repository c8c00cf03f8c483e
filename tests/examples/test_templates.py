"""The templates of docs/handlers.md: each is a file in examples/templates/, and runs here as a child process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks_app.runner.starter import last_line
from tasks_app.runner.wire import request_line
from testkit.kept import GO
from testkit.needs import program, whole_path
from tests.examples.conftest import TOP

TEMPLATES = TOP / "examples/templates"
LANGUAGES = ("python", "shell", "c", "node", "go")
PAGE = (TOP / "docs/handlers.md").read_text()
ID = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"


def command(language: str, folder: Path) -> list[str]:
    """How the template in this copy of its folder is started, after it has been compiled."""
    binary = str(folder / "hello")
    match language:
        case "python":
            return [sys.executable, str(folder / "hello.py")]
        case "shell":
            return ["sh", str(folder / "hello.sh")]
        case "node":
            return [program("node"), str(folder / "hello.js")]
        case "c":
            build = [program("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", binary, "hello.c"]
        case _:
            build = [program("go"), "build", "-o", binary, "hello.go"]
    subprocess.run(build, cwd=folder, env={**whole_path(), **GO}, check=True)
    return [binary]


@pytest.fixture(scope="module", params=LANGUAGES)
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The language of a template, and the command that starts it."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(TEMPLATES / request.param, folder, dirs_exist_ok=True)
    return request.param, command(request.param, folder)


def replies(words: list[str], *data: object) -> tuple[list[dict[str, object]], str]:
    """The replies to tasks with these data, which a handler gets one after another, and its stderr."""
    lines = [request_line(ID, "hello", json.dumps(each, ensure_ascii=False), 1) for each in data]
    done = subprocess.run(words, input=b"".join(lines), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_it_answers_each_task_says_what_is_wrong_with_one_and_exits_at_eof(template: tuple[str, list[str]]) -> None:
    language, words = template
    # A value of a megabyte is in many reads; a line ends with LF alone, not at another separator in a string.
    found, _ = replies(
        words, {"name": "Ada"}, {"name": 5}, {"name": "Ada 2", "task_id": "x", "long": "\u2028ü" * 200_000}
    )
    assert [reply["status"] for reply in found] == ["success", "error", "success"]
    assert [found[0]["result"], found[2]["result"]] == [{"hello": "Ada"}, {"hello": "Ada 2"}]
    assert str(found[1]["error"]).startswith("data.name must be ")
    assert language == "python" or {reply["task_id"] for reply in found} == {ID}


@pytest.mark.parametrize(
    ("language", "of", "to", "error", "log"),
    [
        ("python", '.get("name")', '["name"]', "KeyError('name')", "Traceback"),
        ("node", "= task.task_data", "= task.missing", "TypeError: Cannot destructure", "at handle"),
    ],
)
def test_an_exception_is_the_error_with_its_type_and_its_traceback_is_in_the_log(
    tmp_path: Path, language: str, of: str, to: str, error: str, log: str
) -> None:
    shutil.copytree(TEMPLATES / language, tmp_path, dirs_exist_ok=True)
    (source,) = tmp_path.glob("hello.*")
    assert of in source.read_text()
    source.write_text(source.read_text().replace(of, to))
    found, stderr = replies(command(language, tmp_path), {}, {"name": "Ada"})
    assert str(found[0]["error"]).startswith(error) and found[0].get("retryable", False) is False
    assert log in stderr


@pytest.mark.parametrize(
    ("language", "of", "to", "cause"),
    [
        ("python", "import traceback", "import trace_back", "ModuleNotFoundError: No module named 'trace_back'"),
        ("node", "function handle", 'require("sharp");\nfunction handle', "Error: Cannot find module 'sharp'"),
        ("go", "name, ok :=", "t.Data = nil; t.Data[t.ID] = 1\nname, ok :=", "panic: assignment to entry in nil map"),
        ("shell", "while", "nothing_here || exit 1; while", "nothing_here: not found"),
    ],
)
def test_the_line_that_problems_quote_of_a_handler_that_ends_names_the_cause(
    tmp_path: Path, language: str, of: str, to: str, cause: str
) -> None:
    shutil.copytree(TEMPLATES / language, tmp_path, dirs_exist_ok=True)
    (source,) = tmp_path.glob("hello.*")
    source.write_text(source.read_text().replace(of, to, 1))
    done = subprocess.run(
        command(language, tmp_path), input=request_line(ID, "hello", "{}", 1), capture_output=True, timeout=60
    )
    assert done.returncode and last_line(done.stderr.decode()).endswith(cause), done.stderr


def test_the_unit_test_beside_the_template_in_python_passes_as_its_author_runs_it(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES / "python", tmp_path, dirs_exist_ok=True)
    # Without the settings that our own pytest leaves in the environment.
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_the_files_of_the_template(language: str) -> None:
    blocks = re.findall(r"^```\w+[^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    missing = [
        file.name for file in (TEMPLATES / language).iterdir() if file.is_file() and file.read_text() not in blocks
    ]
    assert missing == []
