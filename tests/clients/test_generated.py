"""Clients that common generators make from the OpenAPI document without a flag: their types hold, and they work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.api.document import document
from testkit.needs import program
from tests.api.system import system

pytestmark = pytest.mark.long("generators of clients, and their compilers", seconds=40)

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
SCRIPTS = Path(sysconfig.get_path("scripts"))
PYTHON = sys.executable


def run(where: Path, *words: object) -> None:
    """Run a program. A failure shows its output."""
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "MYPYPATH": str(where)}
    command = [str(word) for word in words]
    result = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the document, for the generated client."""
    (tmp_path / "openapi.json").write_text(json.dumps(document()), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a complete system."""
    with system(tmp_path_factory.mktemp("home")) as daemon:
        yield f"http://localhost:{daemon.port}"


def use(folder: Path, source: str, address: str) -> None:
    """Check the types of a program and of the client that it uses, and run it."""
    shutil.copy(PROGRAMS / source, folder)
    shutil.copy(HERE / "mypy.ini", folder)
    run(folder, PYTHON, "-m", "mypy", "--cache-dir", folder.parent / "mypy", source)
    run(folder, PYTHON, source, address)


def test_models_of_datamodel_codegen_hold_every_answer(folder: Path, address: str) -> None:
    run(folder, SCRIPTS / "datamodel-codegen", "--input", "openapi.json", "--output", "models.py")
    use(folder, "use_models.py", address)


def test_a_client_of_openapi_python_client_works(folder: Path, address: str) -> None:
    run(folder, SCRIPTS / "openapi-python-client", "generate", "--path", "openapi.json", "--output-path", "project")
    (package,) = (each.parent for each in (folder / "project").glob("*/client.py"))
    package.rename(folder / "generated")
    use(folder, "use_client.py", address)


def test_types_of_openapi_typescript_compile_and_hold(folder: Path, address: str) -> None:
    node, npm = program("node"), program("npm")
    for name in ("package.json", "package-lock.json", "programs/use.ts"):
        shutil.copy(HERE / name, folder)
    run(folder, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", folder / "cache")
    programs = folder / "node_modules" / ".bin"
    run(folder, programs / "openapi-typescript", "openapi.json", "-o", "api.ts")
    run(
        folder,
        programs / "tsc",
        "--strict",
        "--skipLibCheck",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom",
        "use.ts",
    )
    run(folder, node, "use.js", address)
