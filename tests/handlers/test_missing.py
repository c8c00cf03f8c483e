from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.missing import find_missing
from tasks_app.handlers.mounts import Mount
from testkit.daemon import shipped
from testkit.images.recipes import BUSYBOX


@pytest.mark.parametrize(("command", "says"), [
    (("no-such-program-anywhere",), "there is no program no-such-program-anywhere on the PATH"),
    (("pyton3", "plain.py"), "there is no program pyton3 on the PATH; did you mean python3?"),
    (("./run",), "there is no program {cwd}/run"),
    (("./folder",), "{cwd}/folder is a folder, not a program; "),
    (("./circle",), "{cwd}/circle is a link that leads to no file; correct the link"),
    (("./gone.sh",), "{cwd}/gone.sh begins with #!/gone/sh, which does not exist; "),
    (("./windows.sh",), "{cwd}/windows.sh has line ends of Windows, so no program is found; type: sed -i 's/\\r$//' "),
    (("./bare.sh",), "{cwd}/bare.sh is no program, and its first line names none; begin it with one"),
    (("./plain.py",), "{cwd}/plain.py cannot be executed; type: chmod +x"),
    (("python", "-u", "gone.py"), "there is no file {cwd}/gone.py"),
    (("sh", "/gone/handler.sh", "argument"), "there is no file /gone/handler.sh"),
])  # fmt: skip
def test_a_command_that_cannot_start_says_what_is_missing(tmp_path: Path, command: tuple[str, ...], says: str) -> None:
    (tmp_path / "plain.py").touch(0o644)
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    for name, line in {"gone": "#! /gone/sh -e\n", "windows": "#!/bin/sh\r\n", "bare": "echo\n"}.items():
        (tmp_path / f"{name}.sh").write_text(line, newline="")
        (tmp_path / f"{name}.sh").chmod(0o755)
    (problem,) = find_missing(Handler("one", command=command, cwd=tmp_path))
    assert problem.startswith("[handlers.one] command: " + says.format(cwd=tmp_path))


@pytest.mark.parametrize(
    "command",
    [
        ("./shell.sh",),
        ("/bin/cat",),
        ("python", "plain.py"),
        ("sh", "-c", "exec cat"),
        ("python3", "-m", "module"),
        ("cat", "out.txt"),
    ],
)
def test_a_command_that_can_start_is_accepted(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "plain.py").touch()
    (tmp_path / "shell.sh").write_text("#!\t/bin/sh -e\n")
    (tmp_path / "shell.sh").chmod(0o755)
    assert find_missing(Handler("one", command=command, cwd=tmp_path)) == []


def test_a_containers_command_is_not_checked_but_its_mounts_and_variables_are(tmp_path: Path) -> None:
    there, gone = str(tmp_path), f"{tmp_path}/gone"
    one = Handler(
        "one",
        image="x",
        command=("no-such-program",),
        mounts=(Mount(there, "/a"), Mount(gone, "/b")),
        env_from=("UNSET_HERE",),
    )
    assert [each.partition(";")[0] for each in find_missing(one)] == [
        "[handlers.one] env_from: UNSET_HERE is not set here",
        f"[handlers.one] mounts: there is no {gone} on this machine",
    ]


def test_a_writable_mount_that_its_user_cannot_write_to_says_which_owner_it_needs(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mounts = (Mount(str(tmp_path), "/out", writable=True),)
    (found,) = find_missing(Handler("one", image="x", mounts=mounts))
    assert found.endswith(f"cannot write to {tmp_path}; type: sudo chown 65534:65534 {tmp_path}")
    assert find_missing(Handler("one", image="x", mounts=mounts, user="image")) == [], "nobody knows who that is"
    assert find_missing(Handler("one", image="x", mounts=mounts, user=f"{tmp_path.stat().st_uid}:65534")) == []
    tmp_path.chmod(0o777)
    assert find_missing(Handler("one", image="x", mounts=mounts)) == []


def test_manage_py_check_warns_of_each(tmp_path: Path) -> None:
    file = tmp_path / "handlers.toml"
    file.write_text('[handlers.one]\ncommand = ["python", "gone.py"]\nenv_from = ["UNSET_HERE"]\n')
    check = shipped(tmp_path, HANDLER_CONFIG=str(file)).manage("check")
    assert check.ends() == 0, check.said()
    assert "(tasks_app.W002) [handlers.one] command: there is no file" in check.said()
    assert "(tasks_app.W002) [handlers.one] env_from: UNSET_HERE is not set here" in check.said()


def check_of(home: Path, cpus: float, **variables: str) -> str:
    """What `manage.py check` says about a handler that asks for so many processors."""
    file = home / "handlers.toml"
    file.write_text(f'[handlers.one]\nimage = "localhost/x"\ncpus = {cpus}\nmemory_limit = "9000g"\n')
    check = shipped(home, HANDLER_CONFIG=str(file), **variables).manage("check")
    assert check.ends() == 0, check.said()
    return check.said()


def test_manage_py_check_warns_of_more_processors_than_the_machine_has(tmp_path: Path) -> None:
    no_engine, there = {"DOCKER_HOST": f"unix://{tmp_path}/none"}, os.cpu_count()
    said = check_of(tmp_path, 1000, **no_engine)
    assert "(tasks_app.W003) [handlers.one] cpus: 1000 is more than this machine has" in said
    assert f"set at most {there}" in said and "tasks_app.W" not in check_of(tmp_path, there or 1, **no_engine)


@pytest.mark.docker
def test_manage_py_check_warns_of_more_processors_than_the_docker_engine_has(tmp_path: Path) -> None:
    assert "cpus: 1000 is more than the Docker engine has, which is " in check_of(tmp_path, 1000)


@pytest.mark.docker
def test_manage_py_check_warns_of_images_and_networks_that_the_docker_engine_has_not(tmp_path: Path) -> None:
    file = tmp_path / "handlers.toml"
    file.write_text(
        f'[handlers.there]\nimage = "{BUSYBOX}"\nnetwork = "bridge"\n'
        '[handlers.build]\nimage = "localhost/no-such-image"\nnetwork = "no-such-network"\n'
        '[handlers.pull]\nimage = "example.org/no-such-image:1"\n'
    )
    check = shipped(tmp_path, HANDLER_CONFIG=str(file)).manage("check")
    assert check.ends() == 0, check.said()
    said = check.said()
    assert "(tasks_app.W005) [handlers.build] image: the Docker engine has no image localhost/no-such-image" in said
    assert "docker build -t localhost/no-such-image FOLDER" in said
    assert "(tasks_app.W005) [handlers.build] network: the Docker engine has no network no-such-network" in said
    assert "docker network create no-such-network" in said
    assert "docker pull example.org/no-such-image:1" in said
    assert "[handlers.there]" not in said
