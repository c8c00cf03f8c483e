"""The way into a container: FIFOs where they work, and attach, by itself and told once, wherever they do not."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from tasks_app.runner import docker_pipes
from tasks_app.runner.docker_engine import WAY, DockerEngine
from tasks_app.runner.docker_folder import Folder
from tasks_app.runner.docker_pipes import Pipes
from tasks_app.runner.docker_ways import TRANSPORT, Ways
from tasks_app.runner.engine import STDERR
from tasks_app.runner.errors import Unavailable
from tasks_app.runner.wire import Success
from tests.docker.conftest import intruder
from tests.docker.engines import BUSYBOX, client, owner
from tests.images.recipes import C
from tests.runner.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
PIECE = 'while read -r line; do echo \'{"status":"success","result":1}\'; done'
SLOW = "slower than FIFOs"

Open = Callable[..., Desk]


@pytest.fixture
def desks() -> Iterator[Open]:
    """Opens pools of the intruder on an engine of their own, which may choose."""
    with ExitStack() as stack:

        def opened(transport: str = "auto", **fields: Any) -> Desk:
            engine = DockerEngine(owner(), {**os.environ, TRANSPORT: transport})
            stack.callback(engine.close)
            return stack.enter_context(Desk(intruder(**fields), engine))

        yield opened


def way(desk: Desk, do: str = "echo") -> str:
    """How the container is talked to that answered."""
    done = desk.ask(do)
    assert isinstance(done.outcome, Success), done.outcome
    labels: dict[str, str] = client().inspect_container(done.container)["Config"]["Labels"]
    return labels[WAY]


def given_up(desk: Desk) -> int:
    """How many kinds of containers its engine attaches to without a try."""
    return len(cast(DockerEngine, desk.pool.slots[0]._starter._engine)._ways._closed)


def test_fifos_are_taken_by_themselves_and_attach_where_it_is_chosen(desks: Open) -> None:
    assert way(desks()) == "fifo"
    assert way(desks("attach")) == "attach"


@pytest.mark.parametrize("profile", ["sealed", "open"])
def test_an_image_without_a_shell_is_attached_to_and_that_is_told_once(desks: Open, caplog: Any, profile: str) -> None:
    desk = desks(image=C, command=None, profile=profile, instances=2)
    assert way(desk) == "attach"
    desk.until(lambda: desk.pool.stats().warm == 2)
    assert len([line for line in caplog.messages if C in line and SLOW in line]) == 1
    slot, call = desk.begin({"do": "echo"})
    slot.kill("enough")
    desk.result(call)
    assert way(desk) == "attach"
    assert len([line for line in caplog.messages if C in line and SLOW in line]) == 1
    assert given_up(desk) == 1


def test_a_variable_that_a_shell_would_lose_arrives_all_the_same(desks: Open) -> None:
    desk = desks(env={"cluster.name": "one", "PWD": "/mine"})
    found = desk.ask("environment").outcome
    assert isinstance(found, Success)
    assert (found.result["cluster.name"], found.result["PWD"]) == ("one", "/mine")


def test_the_handler_finds_the_same_environment_by_both_ways(desks: Open) -> None:
    found = [desks(way, env={"LEVEL": "two words"}).ask("environment").outcome for way in ("fifo", "attach")]
    both = [{**each.result, "HOSTNAME": ""} for each in found if isinstance(each, Success)]
    assert both[0] == both[1] and both[0]["LEVEL"] == "two words"


def test_an_image_runs_its_own_entrypoint_and_command(desks: Open) -> None:
    name = f"taskdaemon-test/entrypoint-{os.getpid()}"
    made = client().create_container(BUSYBOX)["Id"]
    try:
        changes = [f"ENTRYPOINT {json.dumps(['/bin/sh', '-c'])}", f"CMD {json.dumps([PIECE])}"]
        client().commit(made, name, "1", changes="\n".join(changes))
        assert desks("fifo", image=f"{name}:1", command=None).ask("anything").outcome == Success(1)
        two = desks("fifo", image=f"{name}:1", command=(PIECE.replace("1}", "2}"),))
        assert two.ask("anything").outcome == Success(2)
    finally:
        client().remove_container(made, force=True)
        client().remove_image(f"{name}:1", force=True)


@pytest.mark.parametrize("user", ["image", "1000:1000"])
@pytest.mark.parametrize("profile", ["sealed", "open"])
def test_whoever_the_handler_is_it_is_reached(desks: Open, user: str, profile: str) -> None:
    assert way(desks("fifo", user=user, profile=profile)) == "fifo"


def test_nothing_of_the_host_is_reached_by_the_bind_and_nothing_written(desks: Open) -> None:
    desk = desks("fifo", profile="open", user="image")
    where = docker_pipes.INSIDE
    look = f"import os; print(sorted(os.listdir('{where}')), [l for l in open('/proc/mounts') if '{where}' in l])"
    container = desk.ask("echo").container
    said = client().exec_start(client().exec_create(container, ["python3", "-c", look])["Id"]).decode()
    # The names are gone; a root with all capabilities that Docker gives finds an empty folder that it cannot write to.
    assert said.startswith("[] ['") and " ro," in said
    assert "Read-only file system" in str(desk.ask("write", path=f"{where}/here").outcome)
    (pipes,) = [mount for mount in client().inspect_container(container)["Mounts"] if mount["Destination"] == where]
    assert (pipes["RW"], os.listdir(pipes["Source"])) == (False, [])


def test_what_nobody_opens_is_given_up_and_attach_taken(desks: Open, monkeypatch: Any, tmp_path: Path) -> None:
    # As an engine in a machine of its own, and gVisor, have it: the FIFOs are there, and lead nowhere.
    for name in docker_pipes.MODES:
        os.mkfifo(tmp_path / name)
        (tmp_path / name).chmod(0o666)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    there = {"Type": "bind", "Source": str(tmp_path), "Target": docker_pipes.INSIDE, "ReadOnly": True}
    monkeypatch.setattr(Pipes, "mount", lambda *_: there)
    monkeypatch.setattr(docker_pipes, "PATIENCE", 0.5)
    assert way(desks()) == "attach"
    desk = desks("fifo")
    assert "nothing came through them" in desk.until(lambda: desk.pool.stats().problem)


def test_a_shell_that_may_not_open_them_is_no_error_to_the_task(desks: Open, monkeypatch: Any) -> None:
    # As SELinux has it.
    monkeypatch.setattr(docker_pipes, "MODES", dict.fromkeys(docker_pipes.MODES, 0o600))
    assert way(desks()) == "attach"


def test_an_engine_that_does_not_see_our_files_is_attached_to(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tasks_app.runner.docker_engine import DockerEngine; from tests.docker import test_ways as tests\n"
        "from tasks_app.runner.engine import Owner\n"
        "engine = DockerEngine(Owner('hidden', 'node', 'here', Path(sys.argv[1])))\n"
        "with tests.Desk(tests.intruder(), engine) as desk: print(tests.way(desk))\n"
    )
    hidden = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "attach\n", done.stderr
    assert "source path does not exist" in done.stderr


def test_where_neither_way_is_open_nothing_is_remembered(desks: Open) -> None:
    desk = desks(network=f"there-is-none-{os.getpid()}")
    assert "there-is-none" in desk.until(lambda: desk.pool.stats().problem)
    assert given_up(desk) == 0


def test_a_handler_that_closes_its_stdout_has_ended_though_it_opens_it_again(desks: Open) -> None:
    again = (
        "import os, sys, time\nsys.stdin.readline()\n"
        "mine = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\nos.dup2(2, 1)\ntime.sleep(0.2)\n"
        """os.write(os.open(f'/proc/self/fd/{mine}', os.O_WRONLY), b'{"status":"success","result":"late"}\\n')\n"""
        "time.sleep(600)\n"
    )
    done = desks("fifo", user="image", command=("python3", "-S", "-E", "-c", again)).ask("anything", timeout=60.0)
    assert str(done.outcome) == "the handler ended before it replied"
    assert done.seconds < 30


def readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(20_000))


def test_a_handler_that_closes_its_stdin_is_told_nothing_more(engine: DockerEngine) -> None:
    one = engine.start(intruder(image=BUSYBOX, command=("sh", "-c", "exec <&-; echo closed; sleep 600")), 0)
    try:
        assert readable(one.readers()[0])
        with pytest.raises(BrokenPipeError):
            one.send(b"{}\n")
    finally:
        one.destroy()


def test_what_was_logged_after_the_reply_is_dropped_before_the_next_line(engine: DockerEngine) -> None:
    one = engine.start(intruder(image=BUSYBOX, command=("sh", "-c", "echo late >&2; exec 2>&-; sleep 600")), 0)
    try:
        _, err, _ = one.readers()
        assert readable(err)
        assert one.silent()
        assert one.receive(err) in (((STDERR, b""),), ())
        assert one.silent()
    finally:
        one.destroy()


def test_an_engine_on_another_machine_gets_no_fifos(tmp_path: Path) -> None:
    there = "tcp://10.0.0.7:2375"
    assert not Ways("auto", tmp_path, there).wanted
    assert not Ways("auto", None, "unix:///var/run/docker.sock").wanted
    with pytest.raises(Unavailable, match="on another machine"):
        Ways("fifo", tmp_path, there).wanted  # noqa: B018


def test_the_folder_goes_with_its_last_directory_and_is_swept_after_a_kill(tmp_path: Path) -> None:
    base = tmp_path / "pipes"
    folder, other = Folder(base), Folder(base)
    one, two = folder.make(), folder.make()
    os.utime(one.parent, (0, 0))
    assert other.sweep() == 0, "it is locked"
    folder.remove(one)
    assert two.exists()
    folder.remove(two)
    assert list(base.iterdir()) == []
    left = folder.make()
    os.close(folder._lock)  # as the kernel does
    assert other.sweep() == 0, "it may just have been made"
    os.utime(left.parent, (0, 0))
    assert other.sweep() == 1
    assert list(base.iterdir()) == []
    shutil.rmtree(base)
