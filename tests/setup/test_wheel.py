"""The platform from its wheel, installed in an environment of its own, in a folder where nothing is yet."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from packaging.metadata import Metadata

import taskdaemon_client
from tasks_app.conf import version
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import PROJECT, Process, inherited

pytestmark = pytest.mark.one_leg("what an empty folder gets, without any server")


def built(project: Path, folder: Path) -> Path:
    """The wheel of the project."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=project, check=True)
    (file,) = folder.glob("*.whl")
    return file


class Wheel:
    """The wheel, and an environment that has it. The libraries are those of the tests' own environment."""

    def __init__(self, folder: Path) -> None:
        self.file = built(PROJECT, folder)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        self.python = folder / "venv/bin/python"
        self.program = folder / "venv/bin/taskdaemon-platform"
        (self.packages,) = (folder / "venv").glob("lib/python*/site-packages")
        (self.packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
        self.pip("install", "-q", "--no-index", "--no-deps", str(self.file))

    def pip(self, *words: str) -> str:
        done = subprocess.run(
            [self.python, "-m", "pip", "--disable-pip-version-check", *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def beside_the_code(self) -> set[str]:
        """All files there, but for those that Python compiles."""
        return {str(path) for path in self.packages.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return Wheel(tmp_path_factory.mktemp("wheel"))


class Folder:
    """A folder in which somebody types the command. What it says goes to files elsewhere."""

    def __init__(self, wheel: Wheel, path: Path) -> None:
        self.wheel, self.path, self.said = wheel, path / "folder", path / "said"
        self.path.mkdir()
        self.said.mkdir()
        port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=NO_TLS)
        self.environment = inherited() | {"DAEMON_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
        self.processes: list[Process] = []

    def run(self, *words: str, **environment: str) -> Process:
        words = (str(self.wheel.program), *words)
        self.processes.append(
            Process(self.said, self.environment | environment, *words, python=self.wheel.python, cwd=self.path)
        )
        return self.processes[-1]

    def answers(self) -> bool:
        try:
            return self.http.get("/health/live").status_code == 200
        except httpx.HTTPError:
            return False

    def primes(self) -> object:
        answer = self.http.post("/queue?wait=60", json={"type": "prime", "data": {"limit": 100}})
        return answer.json()["task"]["result"]["count"]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def close(self) -> None:
        self.http.close()
        for process in self.processes:
            process.kill()  # the rest of it dies with it


@pytest.fixture
def folder(wheel: Wheel, tmp_path: Path) -> Iterator[Folder]:
    with closing(Folder(wheel, tmp_path)) as folder:
        yield folder


def test_up_in_an_empty_folder_runs_an_example_keeps_all_there_and_writes_nothing_beside_the_code(
    folder: Folder,
) -> None:
    before = folder.wheel.beside_the_code()
    up = folder.run("up")
    up.until_says("^  ready ")
    assert folder.primes() == 25
    assert folder.files() == ["handlers.toml", "prime.py", "var"]
    page = folder.http.get("/admin/login/")
    assert f"{os.path.basename(folder.wheel.program)} changepassword admin" in page.text
    sheets = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
    assert {folder.http.get(sheet).status_code for sheet in (*sheets, "/docs")} == {200}
    assert any("taskdaemon/admin.css" in sheet for sheet in sheets)
    assert up.stop() == 0
    assert folder.wheel.beside_the_code() == before


def test_up_prints_a_line_of_the_wheels_own_tdctl_that_runs_a_task(folder: Folder) -> None:
    up = folder.run("up")
    tdctl = folder.wheel.python.with_name("tdctl")
    line = up.until_says(rf"^  ({re.escape(str(tdctl))} .*)$")[1]

    def said(*words: str) -> str:
        ran = subprocess.run(words, cwd=folder.path, env=folder.environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    assert json.loads(said("sh", "-c", line))["count"] == 78498
    assert said(str(tdctl), "--version") == f"tdctl {taskdaemon_client.__version__}"
    code = said(str(folder.wheel.python), "-c", "import taskdaemon_client; print(taskdaemon_client.__file__)")
    assert Path(code).parent.parent == folder.wheel.packages
    assert up.stop() == 0


def test_the_next_up_keeps_what_the_folder_has_and_says_which_command_runs_here(folder: Folder) -> None:
    up = folder.run("up")
    up.until_says("^  ready ")
    assert "  example   wrote prime.py and handlers.toml" in up.said()
    up.stop()
    config = folder.path / "handlers.toml"
    config.write_text(config.read_text().replace("handlers.prime", "handlers.mine"))
    again = folder.run("up")
    again.until_says(
        f"admin/  user admin; to set a new password: {re.escape(str(folder.wheel.program))} changepassword"
    )
    again.until_says("^  handlers  mine x2 ")
    again.stop()
    config.unlink()
    (folder.path / "prime.py").unlink()
    without = folder.run("up")
    assert without.ends() == 2
    assert f"{config} cannot be read: No such file or directory" in without.said()
    assert not config.exists(), "a folder that had handlers does not silently get others"


def test_a_program_with_the_examples_name_is_not_replaced(folder: Folder) -> None:
    mine = folder.path / "prime.py"
    mine.write_text("mine\n")
    up = folder.run("up")
    assert up.ends() == 2
    assert (mine.read_text(), (folder.path / "handlers.toml").exists()) == ("mine\n", False)
    assert "taskdaemon-platform up writes an example into a folder without it" in up.said()


def test_the_parts_run_alone_and_relative_paths_begin_in_the_current_folder(folder: Folder) -> None:
    (folder.path / "programs").mkdir()
    (folder.path / "programs/table.toml").write_text('[handlers.prime]\ncommand = ["python", "count.py"]\n')
    example = folder.wheel.packages / "taskdaemon_site/examples/handlers/prime/handler.py"
    (folder.path / "programs/count.py").write_text(example.read_text())
    variables = {"HANDLER_CONFIG": "programs/table.toml", "DAEMON_HOME": "data"}
    early = folder.run("status", **variables)
    assert early.ends() == 2
    assert "run taskdaemon-platform prepare" in early.said()
    assert folder.run("prepare", **variables).ends() == 0
    web, worker = folder.run("web", **variables), folder.run("worker", **variables)
    web.until_says("web server started")
    worker.until_says("node started")
    web.until(lambda: folder.answers(), "an answer")
    assert folder.primes() == 25
    assert (web.stop(), worker.stop()) == (0, 0)
    assert folder.files() == ["data", "programs"]


@pytest.mark.parametrize("words", [(), ("up", "--help")])
def test_help_writes_nothing(folder: Folder, words: tuple[str, ...]) -> None:
    done = folder.run(*words)
    assert done.ends() == 0
    assert folder.files() == []


def test_the_settings_of_another_project_are_not_the_platforms(folder: Folder) -> None:
    done = folder.run("check", DJANGO_SETTINGS_MODULE="shop.settings")
    done.ends()
    assert "taskdaemon-platform up writes an example into a folder without it" in done.said()


def test_the_code_is_the_checkouts_to_the_byte_and_says_the_same_version(wheel: Wheel) -> None:
    of = "from tasks_app.conf import version; print(version())"
    done = subprocess.run([wheel.python, "-c", of], capture_output=True, text=True, cwd="/", env=inherited())
    assert done.stdout.strip() == version(), done.stderr
    with zipfile.ZipFile(wheel.file) as packed:
        names = set(packed.namelist())
    folders = ("tasks_app", "taskdaemon_site", "examples/handlers", "examples/templates")
    files = (path for folder in (*folders, "client/src") for path in (PROJECT / folder).rglob("*") if path.is_file())
    ours = {str(path.relative_to(PROJECT)) for path in files if "__pycache__" not in path.parts}
    packed_as = {re.sub(r"^examples/", "taskdaemon_site/examples/", name).removeprefix("client/src/") for name in ours}
    assert len(ours) > 400 and packed_as - names == set()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "tasks_app", "taskdaemon_site", "taskdaemon_platform", "taskdaemon_client", "tdctl.py"
    }  # fmt: skip


def test_the_environment_has_all_that_the_wheel_asks_for(wheel: Wheel) -> None:
    assert "No broken requirements found." in wheel.pip("check")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert {*project["scripts"]} == {project["name"], "tdctl"}, "uvx and pipx run the one of the distribution's name"


def test_what_an_index_shows_of_each_wheel_is_valid_and_has_no_link_into_the_repository(
    wheel: Wheel, tmp_path: Path
) -> None:
    for file in (wheel.file, built(PROJECT / "client", tmp_path)):
        with zipfile.ZipFile(file) as packed:
            (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
            shown = Metadata.from_email(packed.read(name), validate=True)
        assert shown.description_content_type == "text/markdown" and shown.description
        assert [to for to in re.findall(r"\]\(([^)]*)\)", shown.description) if not to.startswith("https://")] == []
