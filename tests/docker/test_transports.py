"""A container's transport: FIFOs if they work, else attach with one warning."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from tasks_app.handlers.mounts import CONTAINER_DIRECTORY
from tasks_app.runner.docker import fifos
from tasks_app.runner.docker.creator import TRANSPORT_LABEL
from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.docker.fifos import TRANSPORT, Pipes, Transports
from tasks_app.runner.endings import KillReason
from tasks_app.runner.engine import Unavailable
from tasks_app.runner.wire import Success
from testkit import needs
from testkit.images.recipes import C
from tests.docker.conftest import intruder
from tests.docker.engines import BUSYBOX, client, owner
from tests.runner.caller import Caller, error_of

pytestmark = pytest.mark.waiting("what must not happen", seconds=30)

ROOT = Path(__file__).resolve().parents[2]
PIECE = 'while read -r line; do echo \'{"status":"success","result":1}\'; done'
FALLBACK_WARNING = "slower than FIFOs"

Open = Callable[..., Caller]


@pytest.fixture
def callers() -> Iterator[Open]:
    """Opens pools of the intruder, each on an engine of its own with this transport."""
    with ExitStack() as stack:

        def opened(transport: str = "auto", **fields: Any) -> Caller:
            engine = DockerEngine(owner(), {**os.environ, TRANSPORT: transport})
            stack.callback(engine.close)
            return stack.enter_context(Caller(intruder(**fields), engine))

        yield opened


def transport_of(caller: Caller, do: str = "echo") -> str:
    """The transport of the container that replied."""
    result = caller.ask(do)
    assert isinstance(result.outcome, Success), result.outcome
    labels: dict[str, str] = client().inspect_container(result.container)["Config"]["Labels"]
    return labels[TRANSPORT_LABEL]


def given_up(caller: Caller) -> int:
    """For how many kinds of containers its engine uses attach without a try."""
    return len(cast(DockerEngine, caller.engine).transports._suspended)


def test_fifos_are_the_default_and_attach_can_be_chosen(callers: Open) -> None:
    assert transport_of(callers()) == "fifo"
    assert transport_of(callers("attach")) == "attach"


@pytest.mark.parametrize("profile", ["sealed", "open"])
def test_an_image_without_a_shell_uses_attach_with_one_warning(callers: Open, caplog: Any, profile: str) -> None:
    caller = callers(image=C, command=None, profile=profile, instances=2)
    assert transport_of(caller) == "attach"
    caller.until(lambda: caller.pool.stats().warm == 2)
    (said,) = [line for line in caplog.messages if C in line and FALLBACK_WARNING in line]
    assert (
        "The image has no /bin/sh that runs: add a static one (COPY --from=busybox:musl /bin/busybox /bin/sh)" in said
    )
    slot, call = caller.begin({"do": "echo"})
    slot.kill(KillReason.DRAINED)
    caller.result(call)
    assert transport_of(caller) == "attach"
    assert len([line for line in caplog.messages if C in line and FALLBACK_WARNING in line]) == 1
    assert given_up(caller) == 1


def test_an_image_without_a_shell_uses_fifos_once_it_has_the_shell_that_the_warning_names(callers: Open) -> None:
    name, engine = f"taskdaemon-test/with-shell-{os.getpid()}", client()
    giver, taker = engine.create_container(BUSYBOX)["Id"], engine.create_container(C)["Id"]
    try:
        program = io.BytesIO(b"".join(engine.get_archive(giver, "/bin/busybox")[0]))
        packed = io.BytesIO()
        with tarfile.open(fileobj=program) as source, tarfile.open(fileobj=packed, mode="w") as made:
            entry = source.getmember("busybox")
            content = source.extractfile(entry)
            entry.name = "bin/sh"
            made.addfile(entry, content)
        engine.put_archive(taker, "/", packed.getvalue())
        engine.commit(taker, name, "1")
        assert transport_of(callers("fifo", image=f"{name}:1", command=None)) == "fifo"
    finally:
        for container in (giver, taker):
            engine.remove_container(container, force=True)
        engine.remove_image(f"{name}:1", force=True)


def test_a_variable_that_a_shell_would_lose_reaches_the_handler(callers: Open) -> None:
    caller = callers(env={"cluster.name": "one", "PWD": "/mine"})
    found = caller.ask("environment").outcome
    assert isinstance(found, Success)
    assert (found.result["cluster.name"], found.result["PWD"]) == ("one", "/mine")


def test_the_environment_is_the_same_with_both_transports(callers: Open) -> None:
    found = [
        callers(transport, env={"LEVEL": "two words"}).ask("environment").outcome for transport in ("fifo", "attach")
    ]
    both = [{**each.result, "HOSTNAME": ""} for each in found if isinstance(each, Success)]
    assert both[0] == both[1] and both[0]["LEVEL"] == "two words"


def test_an_image_runs_its_own_entrypoint_and_command(callers: Open) -> None:
    name = f"taskdaemon-test/entrypoint-{os.getpid()}"
    made = client().create_container(BUSYBOX)["Id"]
    try:
        changes = [f"ENTRYPOINT {json.dumps(['/bin/sh', '-c'])}", f"CMD {json.dumps([PIECE])}"]
        client().commit(made, name, "1", changes="\n".join(changes))
        assert callers("fifo", image=f"{name}:1", command=None).ask("anything").outcome == Success(1)
        two = callers("fifo", image=f"{name}:1", command=(PIECE.replace("1}", "2}"),))
        assert two.ask("anything").outcome == Success(2)
    finally:
        client().remove_container(made, force=True)
        client().remove_image(f"{name}:1", force=True)


@pytest.mark.parametrize("user", ["image", "1000:1000"])
@pytest.mark.parametrize("profile", ["sealed", "open"])
def test_fifos_work_for_every_user(callers: Open, user: str, profile: str) -> None:
    assert transport_of(callers("fifo", user=user, profile=profile)) == "fifo"


def test_the_bind_gives_no_access_to_the_host(callers: Open) -> None:
    caller = callers("fifo", profile="open", user="image")
    where = CONTAINER_DIRECTORY
    program = f"import os; print(sorted(os.listdir('{where}')), [l for l in open('/proc/mounts') if '{where}' in l])"
    container = caller.ask("echo").container
    output = client().exec_start(client().exec_create(container, ["python3", "-c", program])["Id"]).decode()
    # The FIFOs are unlinked: even root with Docker's capabilities finds an empty folder that it cannot write to.
    assert output.startswith("[] ['") and " ro," in output
    assert "Read-only file system" in error_of(caller.ask("write", path=f"{where}/here").outcome)
    (bound,) = [mount for mount in client().inspect_container(container)["Mounts"] if mount["Destination"] == where]
    assert (bound["RW"], os.listdir(bound["Source"])) == (False, [])


def test_attach_is_used_if_the_fifos_are_not_opened(callers: Open, monkeypatch: Any, tmp_path: Path) -> None:
    # Like an engine in a virtual machine, or gVisor: the FIFOs exist and connect nothing.
    for name in fifos.MODES:
        os.mkfifo(tmp_path / name)
        (tmp_path / name).chmod(0o666)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    there = {"Type": "bind", "Source": str(tmp_path), "Target": CONTAINER_DIRECTORY, "ReadOnly": True}
    monkeypatch.setattr(Pipes, "mount", lambda *_: there)
    monkeypatch.setattr(fifos, "CONNECT_TIMEOUT_SECONDS", 0.5)
    assert transport_of(callers()) == "attach"
    caller = callers("fifo")
    assert "nothing came through them" in caller.until(lambda: caller.pool.stats().problem)


def test_a_shell_that_may_not_open_them_is_no_error_to_the_task(callers: Open, monkeypatch: Any) -> None:
    # Like under SELinux.
    monkeypatch.setattr(fifos, "MODES", dict.fromkeys(fifos.MODES, 0o600))
    assert transport_of(callers()) == "attach"


def test_an_engine_that_does_not_see_our_files_is_attached_to(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tasks_app.runner.docker.engine import DockerEngine; from tests.docker import test_transports as tests\n"
        "from tasks_app.runner.engine import Owner\n"
        "engine = DockerEngine(Owner('hidden', 'node', 'here', Path(sys.argv[1])))\n"
        "with tests.Caller(tests.intruder(), engine) as caller: print(tests.transport_of(caller))\n"
    )
    hidden = f'{needs.program("mount")} -t tmpfs none {tmp_path} && exec "$@"'
    words = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == "attach\n", result.stderr
    assert "source path does not exist" in result.stderr


@pytest.mark.parametrize("fields", [{"network": "taskdaemon-test-none"}, {"runtime": "taskdaemon-test-none"}])
def test_a_start_that_fails_with_both_transports_gives_no_warning(
    callers: Open, caplog: Any, fields: dict[str, str]
) -> None:
    caller = callers(**fields)
    assert "taskdaemon-test-none" in caller.until(lambda: caller.pool.stats().problem)
    assert given_up(caller) == 0
    assert not [line for line in caplog.messages if FALLBACK_WARNING in line]


def readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(20_000))


def test_a_send_to_a_handler_that_closed_its_stdin_fails(engine: DockerEngine) -> None:
    one = engine.start(intruder(image=BUSYBOX, command=("sh", "-c", "exec <&-; echo closed; sleep 600")), 0)
    try:
        assert readable(one.readers()[0])
        with pytest.raises(BrokenPipeError):
            one.send(b"{}\n")
    finally:
        one.destroy()


def test_an_engine_on_another_machine_gets_no_fifos(tmp_path: Path) -> None:
    there = "tcp://10.0.0.7:2375"
    assert not Transports("auto", tmp_path, there).usable
    assert not Transports("auto", None, "unix:///var/run/docker.sock").usable
    with pytest.raises(Unavailable, match="on another machine"):
        Transports("fifo", tmp_path, there).usable  # noqa: B018


KILLED = """
import os, signal, sys
from pathlib import Path
from tasks_app.runner.docker.fifos import Pipes

print(Pipes(Path(sys.argv[1])).directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_directory_is_removed_with_its_fifos_and_swept_after_a_kill(tmp_path: Path) -> None:
    base, transports = tmp_path / "pipes", Transports("auto", tmp_path, "")
    ours = Pipes(base)
    os.utime(ours.directory, (0, 0))
    transports.sweep()
    assert len(list(ours.directory.iterdir())) == 3, "it is locked"
    ours.remove()
    assert list(base.iterdir()) == []
    killed = subprocess.run([sys.executable, "-c", KILLED, str(base)], cwd=ROOT, capture_output=True, text=True)
    leftover = Path(killed.stdout.strip())
    assert leftover.is_dir()
    os.utime(leftover)
    transports.sweep()
    assert leftover.is_dir(), "it may just have been made"
    os.utime(leftover, (0, 0))
    transports.sweep()
    assert list(base.iterdir()) == []
