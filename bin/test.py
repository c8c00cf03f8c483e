"""Runs the tests in legs, and says in its last lines which of them did not run, and why.

The embedded leg is every test, on SQLite and the local transport, but for nodes on several hosts (marked
`several_hosts`), which share no file. Two legs run on servers: what touches the database (marked `database`) and whole
deployments (marked `system`) once more on PostgreSQL + Redis; deployments whose messages matter (not marked
`one_broker`) once more on PostgreSQL + RabbitMQ. What touches neither behaves alike on all of them, and the database's
tests notify nobody. The marks are given by what a test asks for (testkit/running.py); the few deployments that are left
out are marked `one_leg`.
Servers: PostgreSQL at TEST_DATABASE_URL (default: postgres at 127.0.0.1:5432, without a password), Redis and RabbitMQ
at their usual ports of this machine, Docker at DOCKER_HOST (default: the local one), into which the test images are
put first. With CI=true a server that is missing is a failure.
With `--all`, on a Debian, each test that started a program which a bare machine lacks runs once more with a PATH that
has nothing else than such a machine (testkit/bare.py): it has to be left out, or to pass, and none may fail.
Without arguments what takes long is left out (marked `long`), and so are deployments on servers; `--all`
runs every test, and so does CI. The legs run side by side, and four tests at a time of all of them (more while the
processors are idle), besides those that mostly wait (testkit/turns.py; marked `waiting`). What failed runs
once more at the end, one test at a time and nothing beside it: what passes then is flaky, what fails again fails the
run, and the last lines name both. Other arguments go to pytest in the place of all that, one leg after another.
Ctrl-C and SIGTERM leave no process of the tests behind (testkit/reaper.py).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import psycopg

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from testkit import marked, outcomes, turns  # noqa: E402 (found by the line above)
from testkit.reaper import under_reaper  # noqa: E402

#: More tests at a time make each other late: those with a limit of seconds fail. The second number: while they wait and
#: the processors are idle.
AT_A_TIME, AT_A_TIME_WHILE_IDLE = 4, 12
REDIS, RABBITMQ = "redis://127.0.0.1:6379/0", "amqp://guest:guest@127.0.0.1:5672//"
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/taskdaemon")
ON_POSTGRES = {"DATABASE_URL": POSTGRES, "DAEMON_SECRET_KEY": "for tests alone, " * 4}
#: pytest's exit statuses.
TESTS_FAILED, NO_TEST_CHOSEN = 1, 5


@dataclass(frozen=True)
class Leg:
    """One run of pytest: those of its tests that `chosen` (an expression over marks) takes, by so many processes.

    Few: each collects its files and makes a database, which takes more than ten seconds of a processor for all files.
    `files`: the files that have its tests (testkit/marked.py); without any, all files are looked through.
    """

    name: str
    chosen: str
    environment: dict[str, str]
    processes: int = 2
    files: tuple[str, ...] = ()

    def writing(self, outcomes_to: Path) -> Leg:
        """The same, which writes into a file which tests passed and failed."""
        return replace(self, environment=self.environment | {outcomes.FILE: str(outcomes_to)})


@dataclass(frozen=True)
class Result:
    """What became of a leg. `status`: 0, or of pytest. `flaky`: tests that failed, and then passed alone."""

    status: int
    flaky: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def postgres_fault() -> str | None:
    """Why no test can run on the PostgreSQL server, or None. Tests make databases of their own on it."""
    try:
        psycopg.connect(POSTGRES.rpartition("/")[0] + "/postgres", connect_timeout=3).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def server_fault(port: int, hello: bytes) -> str | None:
    """Why the server at `port` of this machine does not answer to `hello`, or None."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(hello)
            return None if connection.recv(1) else f"127.0.0.1:{port} answers nothing"
    except OSError as error:
        return f"127.0.0.1:{port}: {error}"


def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    made = subprocess.run([sys.executable, "-m", "testkit.images"], cwd=TOP, stderr=subprocess.PIPE, text=True)
    if made.returncode == 0:
        return None
    return " ".join(made.stderr.split())[-500:].removeprefix("testkit.images: ")


def collect(written: Path) -> None:
    """Import all tests once, and write the files of each mark. In a fresh checkout this compiles them for all.

    If a file cannot be imported, nothing may be written: the legs then collect all files, and tell what fails.
    """
    with tempfile.TemporaryDirectory(prefix="taskdaemon-test-") as home:
        words = [sys.executable, "-m", "pytest", "-p", "testkit.marked", "--collect-only", "--quiet"]
        environment = clean_environment() | {"DAEMON_HOME": home, marked.FILE: str(written)}
        if subprocess.run(words, cwd=TOP, env=environment, capture_output=True).returncode:
            written.unlink(missing_ok=True)


def clean_environment() -> dict[str, str]:
    """Ours without what configures a daemon: the tests say themselves what they want.

    Bytecode is kept: a process that compiles all it imports takes three times as long to start, and thousands start.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("DAEMON_")
        and name not in ("DATABASE_URL", "HANDLER_CONFIG", "TEST_BROKER_URL", "PYTHONDONTWRITEBYTECODE")
    }


def together(leg: Leg) -> list[str]:
    """pytest's words for so many processes, each with a file at a time, in order, and for what took long."""
    return [
        *("-n", str(leg.processes), "--dist", "loadfile", "--no-loadscope-reorder"),
        *("--durations", "20", "--durations-min", "10"),
    ]


def run(leg: Leg, arguments: list[str], to: IO[str] | None = None) -> int:
    """pytest's exit status."""
    print(f"\n==> {leg.name}", file=to, flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "testkit.outcomes", "-p", "testkit.costs"]
    command += arguments or [*together(leg), *leg.files]
    if leg.chosen:
        command += ["-m", leg.chosen]
    with tempfile.TemporaryDirectory(prefix="taskdaemon-test-") as home:
        environment = clean_environment() | {"DAEMON_HOME": home} | leg.environment
        with subprocess.Popen(command, cwd=TOP, env=environment, stdout=to, stderr=to) as pytest:
            try:
                return pytest.wait()
            except KeyboardInterrupt:
                pytest.wait()  # it had the signal too, and closes what its tests have opened
                raise


def run_side_by_side(legs: list[Leg]) -> list[int]:
    """pytest's exit statuses. What the first leg says is seen at once; what the others say, once all have ended."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in legs[1:]]
        statuses = list(pool.map(lambda leg, to: run(leg, [], to), legs, [None, *files]))
        for file in files:
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout)
    return statuses


def bare_leg(folder: Path) -> Leg:
    """A machine whose PATH has nothing else than this folder."""
    environment = {"PATH": str(folder), "TEST_WHOLE_PATH": "", "CI": ""}
    return Leg("bare machine: what starts a program, without it", "", environment)


def run_bare(leg: Leg, folder: Path) -> int:
    """Once more what has been seen to start a program. pytest's exit status."""
    noted = folder.with_name(f"{folder.name}.started")
    lines = sorted(set(noted.read_text().splitlines())) if noted.exists() else []
    if not lines:
        print("No test has been seen to start a program; look at testkit/bare.py.")
        return NO_TEST_CHOSEN
    noted.write_text("\n".join(lines) + "\n")
    status = run(leg, [*together(leg), f"@{noted}"])
    if status == NO_TEST_CHOSEN:
        print("One of these names is no test's; several processes then run none, and do not say which:")
        run(leg, ["--collect-only", "--quiet", f"@{noted}"])
    return status


def run_failed_again(leg: Leg, status: int) -> Result:
    """Run once more what has failed in a leg whose pytest had this exit status, each test alone."""
    first = Path(leg.environment[outcomes.FILE])
    failed = outcomes.read(first, "failed")
    if status != TESTS_FAILED or not failed:
        return Result(status)
    chosen, second = first.with_suffix(".again"), first.with_suffix(".second")
    chosen.write_text("\n".join(failed) + "\n")
    run(replace(leg, name=f"{leg.name}: what failed, alone", chosen="").writing(second), [f"@{chosen}"])
    passed = set(outcomes.read(second, "passed")) - set(outcomes.read(second, "failed"))
    broken = [test for test in failed if test not in passed]
    return Result(status if broken else 0, [test for test in failed if test in passed], broken)


def tell(results: dict[str, Result]) -> None:
    """The lines that say what became of each leg, and of each test that has failed."""
    for name, result in results.items():
        for test in result.flaky:
            print(f"flaky: failed, then passed alone: {test} ({name})")
        for test in result.broken:
            print(f"broken: failed, then failed alone: {test} ({name})")
    flaky = sum(len(result.flaky) for result in results.values())
    broken = sum(len(result.broken) for result in results.values())
    if flaky or broken:
        print(f"{flaky} failed, then passed alone; {broken} failed, then failed alone")
    for name, result in results.items():
        how = "passed" if result.status == 0 else f"FAILED (pytest exit status {result.status})"
        print(f"leg {name}: {how}{f', {len(result.flaky)} flaky' if result.flaky else ''}")


def main(arguments: list[str]) -> int:
    postgres = postgres_fault()
    everything = "--all" in arguments
    arguments = [word for word in arguments if word != "--all"]
    short = not everything and not arguments
    with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory(prefix="taskdaemon-test-") as scratch:
        written = Path(scratch) / "marked"
        # A short run has one leg on servers: it gains less than a collection costs.
        useful = not arguments and (everything or not (TOP / "tests" / "__pycache__").exists())
        collected = pool.submit(collect, written) if useful else None
        servers = {
            "redis": server_fault(6379, b"PING\r\n"),
            "rabbitmq": server_fault(5672, b"AMQP\x00\x00\x09\x01"),
            "docker": docker_fault(),
        }
        if collected is not None:
            collected.result()
        files = {marks: tuple(marked.files(written, marks)) for marks in (("database", "system"), ("system",))}
    missing = {name: fault for name, fault in servers.items() if fault}
    embedded = " and ".join(f"not {name}" for name in ("several_hosts", *missing))
    legs = [Leg("embedded: SQLite + local transport", embedded, {}, 10)]
    not_run = [f"tests marked {name}: {fault}" for name, fault in missing.items()]
    for broker, url, chosen, processes, marks in (
        ("redis", REDIS, "database or system", 4, ("database", "system")),
        ("rabbitmq", RABBITMQ, "system and not one_broker", 1, ("system",)),
    ):
        name = f"servers: PostgreSQL + {'Redis' if broker == 'redis' else 'RabbitMQ'}"
        if short and broker == "rabbitmq":
            not_run.append(f"leg {name}: it takes long; with it: make test ARGS=--all")
        elif fault := postgres or missing.get(broker):
            not_run.append(f"leg {name}: {fault}")
        else:
            legs.append(Leg(name, chosen, ON_POSTGRES | {"TEST_BROKER_URL": url}, processes, files[marks]))

    if short:
        # Deployments wait for time-outs more than all else does; on servers they wait in the long run.
        legs = [replace(leg, chosen=leg.chosen.replace("database or system", "database")) for leg in legs]
        if len(legs) > 1:
            not_run.append(f"deployments on {legs[1].name.partition(': ')[2]}; with them: make test ARGS=--all")
        legs = [replace(leg, chosen=f"({leg.chosen}) and not long" if leg.chosen else "not long") for leg in legs]
        not_run.append(
            "tests that take long (kills, outages, load, bootstraps, Docker's attach); with them: make test ARGS=--all"
        )
    with tempfile.TemporaryDirectory(prefix="taskdaemon-bare-") as scratch:
        bare = Path(scratch) / "path"
        if everything and shutil.which("dpkg-query"):
            subprocess.run([sys.executable, "-m", "testkit.bare", bare], cwd=TOP, check=True)
            legs = [replace(leg, environment=leg.environment | {"TEST_BARE": str(bare)}) for leg in legs]
        legs = [leg.writing(Path(scratch) / f"outcomes{number}") for number, leg in enumerate(legs)]
        if arguments:
            # Arguments may leave nothing of a leg.
            statuses = [0 if status == NO_TEST_CHOSEN else status for status in (run(leg, arguments) for leg in legs)]
        else:
            fifo = Path(scratch) / "turns"
            kept = turns.make(fifo, AT_A_TIME)
            with turns.more_while_idle(kept, AT_A_TIME, AT_A_TIME_WHILE_IDLE):
                statuses = run_side_by_side(
                    [replace(leg, environment=leg.environment | {turns.FIFO: str(fifo)}) for leg in legs]
                )
            os.close(kept)
        if bare.exists():
            legs.append(bare_leg(bare).writing(Path(scratch) / "outcomes.bare"))
            statuses.append(run_bare(legs[-1], bare))
        results = {
            leg.name: Result(status) if arguments else run_failed_again(leg, status)
            for leg, status in zip(legs, statuses, strict=True)
        }
        if everything and not bare.exists():
            not_run.append("leg bare machine: it takes its programs' names from Debian's packages")
    print()
    tell(results)
    for reason in not_run or ["nothing"]:
        print(f"not run: {reason}")
    if not_run and os.environ.get("CI") == "true":
        print("In CI a server that is missing is a failure.")
        return 1
    return max(result.status for result in results.values())


if __name__ == "__main__":
    try:
        sys.exit(under_reaper(lambda: main(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
