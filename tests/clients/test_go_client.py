"""The client that openapi-generator makes for Go compiles, and works against a complete system."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from testkit.kept import GO
from testkit.needs import missing, program
from tests.clients.test_generated import PROGRAMS, address, folder, generate, openapi_generator, run

__all__ = ["address", "folder", "openapi_generator"]

pytestmark = pytest.mark.long("Go's compiler, which compiles its library too", seconds=90)

#: Where Debian keeps the sources of Go's packages.
PACKAGES = Path("/usr/share/gocode")


def test_a_client_of_openapi_generator_for_go_works(
    folder: Path, openapi_generator: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = program("go")
    if not (PACKAGES / "src/gopkg.in/validator.v2").exists():
        missing("the sources of validator.v2", "golang-gopkg-validator.v2-dev")
    names = ("--package-name", "client", "--additional-properties=enumClassPrefix=true")
    generate(openapi_generator, folder, "go", *names)
    shutil.rmtree(folder / "client" / "test")
    (folder / "src" / "use").mkdir(parents=True)
    (folder / "client").rename(folder / "src" / "client")
    shutil.copy(PROGRAMS / "use.go", folder / "src" / "use")
    for name, value in {**GO, "GOPATH": f"{folder}:{PACKAGES}"}.items():
        monkeypatch.setenv(name, value)
    run(folder / "src" / "use", go, "build", "-o", folder / "program", ".", seconds=280)
    run(folder, folder / "program", address, os.urandom(8).hex())
