"""Which paths a handler may have in its container, as handlers.toml says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.handlers.handlers_toml import Defaults
from tasks_app.handlers.mounts import Mount, MountRules
from tests.handlers.kit import faults, read


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        ("/srv/models:/models", None),
        ("/srv:/models", None),
        ("/srv2/models:/models", "/srv2/models is below none of DAEMON_MOUNT_ROOTS (/srv, /data); add a directory"),
        ("/:/host", "/ contains /proc, which is never given"),
        ("/var:/host", "/var contains /var/run"),
        ("/srv/../etc:/x", "is not a mount"),
        ("/srv/./models//:/x", None),
        ("srv:/x", "is not a mount"),
        ("/srv:/x/../..", "is not a mount"),
        ("/srv:/", "nothing can be mounted on /"),
        ("/srv:/x:rw", "is not a mount"),
        *((f"{path}:/x", f"{path} is never given") for path in (
            "/run", "/run/docker.sock", "/run/user/1000/docker.sock", "/var/run/docker.sock", "/proc/1/root", "/sys/fs",
            "/etc/shadow", "/dev/sda", "/boot/grub", "/var/lib/docker/volumes", "/var/lib/containerd",
        )),
        ("/srv/home/secret_key:/x", "/srv/home/secret_key is never given"),
        ("/srv/docker:/x", None),
    ],
)  # fmt: skip
def test_a_mount_is_below_an_allowed_root_and_some_things_are_never_mounted(
    file: Path, mount: str, found: str | None
) -> None:
    text = f'[handlers.x]\nimage = "y"\nmounts = ["{mount}"]\n'
    rules = Defaults(mount_rules=MountRules(("/srv", "/data"), private=("/srv/home",)))
    if mount == "/srv:/models":
        rules = Defaults(mount_rules=MountRules(("/srv", "/data")))
    if found is None:
        assert read(file, text, rules)["x"].mounts
        return
    (fault,) = faults(file, text, rules)
    assert fault.startswith("handlers.toml:3: [handlers.x] mounts: ") and found in fault


@pytest.mark.parametrize(("keys", "found"), [
    ('tmpfs = { "/" = "1m" }', "tmpfs: nothing can be mounted on / in a container; choose another path"),
    ('tmpfs = { "/dev" = "1m" }', "tmpfs: nothing can be mounted on /dev "),
    ('tmpfs = { "/dev/taskdaemon" = "1m" }', "tmpfs: nothing can be mounted on /dev/taskdaemon "),
    ('tmpfs = { "/tmp/../etc" = "1m" }', "tmpfs: '/tmp/../etc' is not an absolute path without .."),
    ('tmpfs = { tmp = "1m" }', "tmpfs: 'tmp' is not an absolute path without .."),
    ('mounts = ["/srv/a:/"]', "mounts: nothing can be mounted on / "),
    ('mounts = ["/srv/a:/proc/self"]', "mounts: nothing can be mounted on /proc/self "),
    ('mounts = ["/srv/a:/sys"]', "mounts: nothing can be mounted on /sys "),
    ('mounts = ["/srv/a:/x", "/srv/b:/x/"]', "mounts: something else is mounted on /x too; choose another path"),
    ('mounts = ["/srv/a:/x"]\ntmpfs = { "/x/" = "1m" }', "mounts: something else is mounted on /x too"),
    ('mounts = ["/srv/a:/tmp", "/srv/a:/tmp/b"]\ntmpfs = { "/dev/shm" = "1m" }', None),
])  # fmt: skip
def test_each_path_in_a_container_has_one_mount_and_some_have_none(file: Path, keys: str, found: str | None) -> None:
    text, rules = f'[handlers.x]\nimage = "y"\n{keys}\n', Defaults(mount_rules=MountRules(("/srv",)))
    if found is None:
        assert read(file, text, rules)["x"].mounts
        return
    (fault,) = faults(file, text, rules)
    assert f"[handlers.x] {found}" in fault


WRITABLE = '{ source = "/srv/out", target = "/out", writable = true }'


@pytest.mark.parametrize(("mounts", "found"), [
    (WRITABLE, None),
    (WRITABLE.replace("true", "false"), "/srv/out is below none of DAEMON_MOUNT_ROOTS (/data); add a directory"),
    (WRITABLE.replace("/srv", "/data"), "/data/out is below none of DAEMON_WRITABLE_ROOTS (/srv); add a directory that "
     "handlers may write to"),
    (WRITABLE.replace("/srv/out", "/srv/home/x"), "/srv/home/x is never given to a handler"),
    (WRITABLE.replace("/srv/out", "/run/docker.sock"), "/run/docker.sock is never given to a handler"),
    (WRITABLE.replace("/srv/out", "/srv"), "/srv contains /srv/home, which is never given"),
    (WRITABLE.replace("writable", "writeable"), "'writeable' is unknown in a mount; did you mean \"writable\"?"),
    (WRITABLE.replace("true", '"yes"'), "is not a mount; write "),
    ('{ source = "/srv/out" }', "is not a mount; write "),
    ('{ source = "/srv/out", target = 5 }', "is not a mount; write "),
    ("5", "is not a string"),
    (WRITABLE + ', "/data/a:/out"', "something else is mounted on /out too"),
    (WRITABLE + ', { source = "/srv/out/a", target = "/a", writable = true }',
     "/srv/out/a is in a folder that [handlers.x] may write to, so a link may be put in its place"),
    (WRITABLE + ', { source = "/srv/out", target = "/too", writable = true }', None),
])  # fmt: skip
def test_a_mount_is_writable_by_an_explicit_key_below_roots_of_its_own(
    file: Path, mounts: str, found: str | None
) -> None:
    text = f'[handlers.x]\nimage = "y"\nmounts = [{mounts}]\n'
    rules = Defaults(mount_rules=MountRules(("/data",), ("/srv/home",), ("/srv",)))
    if found is None:
        assert read(file, text, rules)["x"].mounts[0] == Mount("/srv/out", "/out", writable=True)
        return
    (fault,) = faults(file, text, rules)
    assert fault.startswith("handlers.toml:3: [handlers.x] mounts: ") and found in fault


def test_what_another_handler_may_write_to_is_mounted_as_a_whole(file: Path) -> None:
    text = f'[handlers.x]\nimage = "y"\nmounts = [{WRITABLE}]\n[handlers.z]\nimage = "y"\nmounts = ["/srv/out/a:/a"]\n'
    (fault,) = faults(file, text, Defaults(mount_rules=MountRules(("/srv",), (), ("/srv",))))
    assert fault.startswith("handlers.toml:6: [handlers.z] mounts: /srv/out/a is in a folder that [handlers.x] may")


@pytest.mark.parametrize(("source", "writable", "named"), [
    ("", True, "handlers.toml"), ("handlers.toml", True, "handlers.toml"), ("bin", True, "bin/run.py"),
    ("link", True, "bin/run.py"), ("out", True, None), ("", False, None),
])  # fmt: skip
def test_no_handler_may_write_to_handlers_toml_or_to_what_runs_on_the_host(
    file: Path, source: str, writable: bool, named: str | None
) -> None:
    root = file.parent
    (root / "bin").mkdir()
    (root / "link").symlink_to("bin")
    mount = f'{{ source = "{root / source}", target = "/out", writable = {str(writable).lower()} }}'
    text = f'[handlers.x]\nimage = "y"\nmounts = [{mount}]\n[handlers.z]\ncommand = ["python3", "bin/run.py"]\n'
    rules = Defaults(mount_rules=MountRules((str(root),), (), (str(root),)))
    if named is None:
        assert read(file, text, rules)
        return
    (fault,) = faults(file, text, rules)
    assert fault.startswith("handlers.toml:3: [handlers.x] mounts: ")
    assert f" has {root / named} in it, and whoever writes that decides what runs on this machine" in fault


def test_the_digest_tells_a_writable_mount_from_a_read_only_one_however_that_is_written(file: Path) -> None:
    text = '[handlers.x]\nimage = "y"\nmounts = ["/srv/a:/a", "/srv/b:/b"]\n'
    rules = Defaults(mount_rules=MountRules(("/srv",), (), ("/srv",)))
    one = read(file, text, rules).digest
    table = '{ source = "/srv/b", target = "/b" }'
    assert read(file, text.replace('"/srv/b:/b"', table), rules).digest == one
    assert read(file, text.replace('"/srv/b:/b"', table.replace(" }", ", writable = true }")), rules).digest != one
    assert read(file, text + "error_tail = true\n", rules).digest == one


def test_without_roots_no_mount_is_allowed(file: Path) -> None:
    (found,) = faults(file, '[handlers.x]\nimage = "y"\nmounts = ["/srv/models:/models"]\n')
    assert found == (
        "handlers.toml:3: [handlers.x] mounts: /srv/models is below none of DAEMON_MOUNT_ROOTS (it is empty); "
        "add a directory that handlers may read"
    )
