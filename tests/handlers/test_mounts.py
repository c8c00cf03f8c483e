"""What a mount leads to on this machine when its container starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tasks_app.handlers.mounts import Mount, MountRules


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    return tmp_path / "data"


@pytest.fixture
def rules(data: Path) -> MountRules:
    return MountRules((str(data),))


def test_a_path_without_links_is_unchanged(data: Path, rules: MountRules) -> None:
    assert rules.resolved(str(data / "models")) == str(data / "models")
    (data / "one.txt").write_text("x")
    assert rules.resolved(str(data / "one.txt")) == str(data / "one.txt")


def test_a_link_within_the_roots_is_resolved(data: Path, rules: MountRules) -> None:
    (data / "latest").symlink_to("models")
    assert rules.resolved(str(data / "latest")) == str(data / "models")


def test_a_writable_mount_has_roots_of_its_own_and_its_links_are_followed_too(data: Path, tmp_path: Path) -> None:
    rules = MountRules((str(tmp_path / "other"),), (str(tmp_path / "home"),), (str(data),))
    assert rules.resolved(str(data / "models"), writable=True) == str(data / "models")
    for target, says in ((tmp_path / "other", "below none of DAEMON_WRITABLE_ROOTS"), (tmp_path / "home", "never")):
        (data / "link").unlink(missing_ok=True)
        (data / "link").symlink_to(target)
        with pytest.raises(ValueError, match=says):
            rules.resolved(str(data / "link"), writable=True)


@pytest.mark.parametrize(
    "path", ["/", "/usr/bin", "/usr/local", "/bin/x", "/lib64", "/root", "/root/.ssh", "/srv/code/a", "/srv"]
)
def test_no_root_makes_the_programs_of_the_host_or_the_platform_writable(path: str) -> None:
    rules = MountRules(("/",), (), ("/",), ("/srv/code",))
    assert "never" in str(rules.refusal(path, writable=True))
    assert path == "/" or rules.refusal(path) is None, "it may be read"


def test_a_folder_in_the_home_of_root_is_writable_below_a_root_that_is_in_there_too() -> None:
    rules = MountRules((), (), ("/root/reports", "/root"))
    assert rules.refusal("/root/reports/new", writable=True) is None
    assert "/root decides" in str(rules.refusal("/root/.ssh", writable=True))
    assert "/root decides" in str(rules.refusal("/root", writable=True))


def test_a_link_to_a_program_is_not_writable(data: Path) -> None:
    (data / "link").symlink_to("/usr/bin")
    with pytest.raises(ValueError, match=r"leads to /usr/bin: .* never writable"):
        MountRules((), (), ("/",)).resolved(str(data / "link"), writable=True)


def test_what_is_inside_a_writable_mount_is_known_as_it_is_written_and_through_links(data: Path) -> None:
    writable = Mount(str(data), "/out", writable=True)
    (data.parent / "alias").symlink_to(data)
    (data / "away").symlink_to(data.parent / "other")
    for source, inside in (
        (data, False),
        (data.parent / "alias", False),
        (data / "models", True),
        (data.parent / "alias" / "models", True),
        (data / "away", True),
        (data.parent, False),
    ):
        assert Mount(str(source), "/x").is_inside(writable) is inside, source
    assert not Mount(str(data / "models"), "/x").is_inside(Mount(str(data), "/out"))


def test_a_root_may_be_a_link_itself(data: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(data)
    rules = MountRules((str(tmp_path / "root"),))
    assert rules.resolved(str(tmp_path / "root" / "models")) == str(data / "models")


@pytest.mark.parametrize("target", ["/etc", "/proc/self/root/etc", "/", "/run", "../../../../../../etc/hostname"])
def test_a_link_to_what_is_never_given_is_refused(data: Path, target: str, rules: MountRules) -> None:
    (data / "harmless").symlink_to(target)
    with pytest.raises(ValueError, match=r"harmless leads to /.*: .* never given"):
        rules.resolved(str(data / "harmless"))


def test_a_link_in_the_middle_is_followed_too(data: Path, tmp_path: Path, rules: MountRules) -> None:
    (data / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to("/etc")
    with pytest.raises(ValueError, match="leads to /etc/ssl: /etc/ssl is never given"):
        rules.resolved(str(data / "a" / "ssl"))


def test_a_forbidden_path_is_refused_at_its_real_location_too(
    data: Path, tmp_path: Path, rules: MountRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like /var/lib/docker or /etc/ssl moved to a larger disk.
    (tmp_path / "moved").symlink_to(data / "models")
    monkeypatch.setattr("tasks_app.handlers.mounts.FORBIDDEN", (str(tmp_path / "moved"),))
    with pytest.raises(ValueError, match="never given"):
        rules.resolved(str(data / "models"))


def test_a_link_out_of_the_roots_is_refused(data: Path, tmp_path: Path, rules: MountRules) -> None:
    (data / "out").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match=f"leads to {tmp_path}/other: .* below none of DAEMON_MOUNT_ROOTS"):
        rules.resolved(str(data / "out"))


def test_a_link_to_our_own_files_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "in").symlink_to(tmp_path / "other")
    rules = MountRules(("/",), private=(str(tmp_path / "other"),))
    with pytest.raises(ValueError, match="never given"):
        rules.resolved(str(data / "in"))


def test_the_engines_own_folder_is_refused_wherever_it_is(data: Path, rules: MountRules) -> None:
    with pytest.raises(ValueError, match="never given"):
        rules.resolved(str(data / "models"), never=[str(data)])


def test_a_socket_is_refused_because_read_only_does_not_protect_it(data: Path, rules: MountRules) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(data / "s"))
        with pytest.raises(ValueError, match="neither a directory nor a regular file"):
            rules.resolved(str(data / "s"))


def test_a_missing_path_is_reported(data: Path, rules: MountRules) -> None:
    with pytest.raises(ValueError, match="cannot be mounted: No such file"):
        rules.resolved(str(data / "nothing"))
