"""Where a client calls, and with which key."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskdaemon_client.settings import BadSettings, settings

FILE = """
default = "home"

[profiles.home]
url = "http://home"
api_key = "key of home"

[profiles.work]
url = "http://work"

[profiles.broken]
api_key = "x"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of profiles, and an environment without anything."""
    for name in ("TASKDAEMON_URL", "TASKDAEMON_API_KEY", "TASKDAEMON_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "taskdaemon").mkdir()
    file = tmp_path / "taskdaemon/config.toml"
    file.write_text(FILE)
    return file


def found(*arguments: str | None, **words: str) -> tuple[str, str | None]:
    answer = settings(*arguments, **words)
    return answer.url, answer.api_key


def test_arguments_go_before_the_profile_before_the_environment_before_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found() == ("http://home", "key of home")
    monkeypatch.setenv("TASKDAEMON_PROFILE", "work")
    assert found() == ("http://work", None)
    monkeypatch.setenv("TASKDAEMON_URL", "http://environment")
    monkeypatch.setenv("TASKDAEMON_API_KEY", "key of the environment")
    assert found() == ("http://environment", "key of the environment")
    assert found(profile="home") == ("http://home", "key of home")
    assert found("http://argument", "key") == ("http://argument", "key")
    file.unlink()
    monkeypatch.delenv("TASKDAEMON_URL")
    monkeypatch.delenv("TASKDAEMON_PROFILE")
    assert found() == ("http://127.0.0.1:8080", "key of the environment")


def test_the_key_of_a_profile_goes_to_no_other_address(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("http://elsewhere") == ("http://elsewhere", None)
    monkeypatch.setenv("TASKDAEMON_URL", "http://elsewhere")
    assert found() == ("http://elsewhere", None)


def test_a_wrong_file_says_where_and_what(file: Path) -> None:
    with pytest.raises(BadSettings, match=r"config.toml has no profile 'shop'; it has broken, home, work"):
        settings(profile="shop")
    with pytest.raises(BadSettings, match=r"\[profiles.broken\] has no url"):
        settings(profile="broken")
    file.write_text("default = ")
    with pytest.raises(BadSettings, match=r"config.toml cannot be read: Invalid value"):
        settings()
