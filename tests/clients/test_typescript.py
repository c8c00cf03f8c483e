"""The TypeScript client: it is made into a package, compiled by its users, and used against a running platform."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks_app.api.document import document
from testkit.cutting_proxy import CuttingProxy
from testkit.daemon import Daemon
from testkit.needs import program
from testkit.sizes import size
from tests.clients.test_generated import PROGRAMS, run

pytestmark = [
    pytest.mark.long("npm, the compiler of TypeScript, and lost calls", seconds=45),
    pytest.mark.one_leg("a client of the API"),
]

TOP = Path(__file__).parents[2]
SOURCE, PAGE = TOP / "client-ts", TOP / "docs" / "client-ts.md"
#: Submissions, waits and streams of events through the proxy.
SUBMITS, WAITS, STREAMS = size((200, 40, 6), large=(2000, 200, 40))


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as a user installs it, and with a compiler."""
    source = tmp_path_factory.mktemp("client") / "client-ts"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("node_modules", "dist", "api.ts"))
    (source / "openapi.json").write_text(json.dumps(document()), encoding="utf-8")
    cache = ("--cache", source / "cache")
    run(source, program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", *cache)
    run(source, "env", "OPENAPI=openapi.json", program("npm"), "run", "build")
    run(source, program("npm"), "pack", *cache)
    folder = tmp_path_factory.mktemp("user")
    (folder / "package.json").write_text("{}")
    (package,) = source.glob("*.tgz")
    run(folder, program("npm"), "install", "--offline", "--no-audit", "--no-fund", *cache, package)
    (folder / "node_modules" / "typescript").symlink_to(source / "node_modules" / "typescript")
    return folder


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    """`up` with the handlers `echo`, `prime` and `talk`, and `never`, which is paused."""
    daemon = module_deployment(DAEMON_MAX_RETRIES="0")
    words = json.dumps(["python", "-S", "-E", str(PROGRAMS / "speaker.py")])
    for name in ("echo", "never", "prime", "talk"):
        with daemon.config.open("a") as file:
            file.write(f"[handlers.{name}]\ncommand = {words}\ninstances = 4\n")
    daemon.up()
    assert daemon.http.post("/api/handlers/never/pause?wait=30").json()["busy"] == []
    return daemon


def compile_strictly(folder: Path, *sources: str) -> None:
    """Compile programs with all checks, also of the declarations of the package."""
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    options = "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --module nodenext --target es2022"
    run(folder, program("node"), compiler, *options.split(), "--lib", "es2022,dom", *sources)


def test_its_lock_file_names_no_registry() -> None:
    assert "resolved" not in (SOURCE / "package-lock.json").read_text()
    assert "dependencies" not in json.loads((SOURCE / "package.json").read_text())


def test_programs_of_both_module_systems_compile_and_wrong_types_do_not(user: Path) -> None:
    text = 'import { Client, type Task } from "taskdaemon-client";\nexport const wait = (id: string): Promise<Task> => '
    for ending in (".mts", ".cts"):
        (user / f"right{ending}").write_text(f"{text}new Client().wait(id, {{ timeout: 5 }});\n")
        (user / f"wrong{ending}").write_text(f'{text}new Client().wait(id, {{ timeout: "5" }});\n')
    compile_strictly(user, "right.mts", "right.cts")
    with pytest.raises(AssertionError, match=r"(?s)(?=.*wrong\.mts\(2)(?=.*wrong\.cts\(2)"):
        compile_strictly(user, "wrong.mts", "wrong.cts")


def test_its_own_tests_pass_against_a_platform_through_a_proxy_that_breaks_calls(
    user: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SOURCE / "tests", user / "tests")
    with CuttingProxy(daemon.port, 0.4, seed=1) as proxy:
        monkeypatch.setenv("TASKDAEMON_URL", daemon.base)
        monkeypatch.setenv("LOSSY_URL", f"http://127.0.0.1:{proxy.port}")
        for name, count in (("SUBMITS", SUBMITS), ("WAITS", WAITS), ("STREAMS", STREAMS)):
            monkeypatch.setenv(name, str(count))
        files = sorted(str(each) for each in (user / "tests").glob("*.test.mjs"))
        run(user, program("node"), "--test", "--test-reporter=tap", *files, seconds=1200)
        assert 0.3 < sum(map(bool, proxy.calls)) / len(proxy.calls) < 0.5


def test_each_program_of_the_page_compiles_and_runs(
    user: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDAEMON_URL", daemon.base)
    programs = re.findall(r"^```ts\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(programs) > 4
    assert len(PAGE.read_text().splitlines()) <= 150
    names = [f"page{number}.mts" for number in range(len(programs))]
    for name, source in zip(names, programs, strict=True):
        (user / name).write_text(source.replace("http://localhost:8080", daemon.base))
    compile_strictly(user, *names)
    for name in names:
        run(user, program("node"), name.replace(".mts", ".mjs"))
