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
from testkit.kept import JAVA
from testkit.needs import program
from tests.api.system import system

pytestmark = pytest.mark.long("generators of clients, and their compilers", seconds=40)

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
SCRIPTS = Path(sysconfig.get_path("scripts"))
PYTHON = sys.executable


def run(where: Path, *words: object, seconds: float = 110) -> None:
    """Run a program, for so many seconds at most. A failure shows its output."""
    environment = {**os.environ, **JAVA, "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "MYPYPATH": str(where)}
    command = [str(word) for word in words]
    result = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, timeout=seconds, check=False
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


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of package-lock.json."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    run(folder, program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", folder / "cache")
    return folder / "node_modules"


def use_typescript(folder: Path, node_modules: Path, source: str, address: str) -> None:
    """Compile a program with what it uses, and run it."""
    for path in (HERE / "package.json", PROGRAMS / source):
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(node_modules)
    target = ("--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    run(folder, node_modules / ".bin" / "tsc", "--strict", "--skipLibCheck", *target, source)
    run(folder, program("node"), source.replace(".ts", ".js"), address)


def test_types_of_openapi_typescript_compile_and_hold(folder: Path, node_modules: Path, address: str) -> None:
    run(folder, node_modules / ".bin" / "openapi-typescript", "openapi.json", "-o", "api.ts")
    use_typescript(folder, node_modules, "use.ts", address)


@pytest.fixture(scope="module")
def openapi_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of openapi-generator."""
    folder = tmp_path_factory.mktemp("openapi-generator")
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", folder)
    run(folder, *pip, "--requirement", HERE / "openapi-generator.txt")
    return folder / "openapi_generator_cli" / "openapi-generator.jar"


def generate(jar: Path, folder: Path, language: str, *options: str) -> None:
    """Make the folder `client` with openapi-generator."""
    run(
        folder, program("java"), "-jar", jar, "generate", "-i", "openapi.json", "-g", language, "-o", "client", *options
    )


def test_a_python_client_of_openapi_generator_works(folder: Path, openapi_generator: Path, address: str) -> None:
    generate(openapi_generator, folder, "python")
    (folder / "client" / "openapi_client").rename(folder / "openapi_client")
    shutil.copy(PROGRAMS / "use_openapi_generator.py", folder)
    run(folder, PYTHON, "use_openapi_generator.py", address)


def test_a_client_of_openapi_generator_for_fetch_works(
    folder: Path, openapi_generator: Path, node_modules: Path, address: str
) -> None:
    generate(openapi_generator, folder, "typescript-fetch", "--additional-properties=importFileExtension=.js")
    use_typescript(folder, node_modules, "use_fetch.ts", address)
