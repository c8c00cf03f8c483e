"""Where a client calls, and with which key."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskdaemon_client import Client
from taskdaemon_client.settings import BadSettings, settings

FILE = """
default = "home"

[profiles.home]
url = "http://home"
api_key = "key-of-home"

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
    file.chmod(0o600)
    return file


def found(*arguments: str | None, **words: str) -> tuple[str, str | None]:
    answer = settings(*arguments, **words)
    return answer.url, answer.api_key


def test_arguments_go_before_the_profile_before_the_environment_before_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found() == ("http://home", "key-of-home")
    monkeypatch.setenv("TASKDAEMON_PROFILE", "work")
    assert found() == ("http://work", None)
    monkeypatch.setenv("TASKDAEMON_URL", "http://environment")
    monkeypatch.setenv("TASKDAEMON_API_KEY", "key-of-the-environment")
    assert found() == ("http://environment", "key-of-the-environment")
    assert found(profile="home") == ("http://home", "key-of-home")
    assert found("http://argument", "key") == ("http://argument", "key")
    file.unlink()
    monkeypatch.delenv("TASKDAEMON_URL")
    monkeypatch.delenv("TASKDAEMON_PROFILE")
    assert found() == ("http://127.0.0.1:8080", "key-of-the-environment")


def test_the_key_of_a_profile_goes_to_no_other_address(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("http://elsewhere") == ("http://elsewhere", None)
    monkeypatch.setenv("TASKDAEMON_URL", "http://elsewhere")
    assert found() == ("http://elsewhere", None)


def test_a_wrong_file_says_where_and_what(file: Path) -> None:
    for url in (None, "http://elsewhere"):
        with pytest.raises(BadSettings, match=r"config.toml has no profile 'shop'; it has broken, home, work"):
            settings(url, profile="shop")
    with pytest.raises(BadSettings, match=r"\[profiles.broken\] has no url"):
        settings(profile="broken")
    file.unlink()
    with pytest.raises(BadSettings, match=r"config.toml does not exist, so it has no profile 'work'"):
        settings("http://elsewhere", profile="work")


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("default = ", r"config.toml cannot be read: Invalid value"),
        ("default = 3", r"config.toml: default must be a string"),
        ("profiles = 'x'", r"config.toml: profiles must be a table, such as \[profiles.production\]"),
        ("[profile.home]\nurl = 'http://x'", r"config.toml: 'profile' is unknown; did you mean profiles\?"),
        ("[profiles]\nhome = 'http://x'", r"\[profiles.home\] must be a table"),
        ("[profiles.home]\nurl = 8080", r"\[profiles.home\] url must be a string"),
        ("[profiles.home]\napikey = 'x'", r"\[profiles.home\] 'apikey' is unknown; did you mean api_key\?"),
        ("[profiles.home]\ntoken = 'x'", r"\[profiles.home\] 'token' is unknown; there are url, api_key"),
        ("[profiles.home]\nurl = 'home:80'", r"the profile 'home' in .* is it http://home:80\?"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(file: Path, written: str, sentence: str) -> None:
    file.write_text(written)
    with pytest.raises(BadSettings, match=sentence):
        settings(profile="home")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:18990", r"is it http://127\.0\.0\.1:18990\?"),
        ("localhost", r"is it http://localhost\?"),
        ("", r"is it http://127\.0\.0\.1:8080\?"),
        ("ftp://x", "is no address"),
        ("tpk_secret", "has an API key where an address belongs"),
        ("http://", "is no address"),
        ("http://[::1", "is no address"),
        ("http://x/below/queue/", "the address ends before /queue"),
    ],
)
def test_what_is_no_address_is_refused_wherever_it_comes_from(
    file: Path, monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    with pytest.raises(BadSettings, match=f"the argument url .*{sentence}"):
        Client(url)
    if url:  # in the environment that is: no address
        monkeypatch.setenv("TASKDAEMON_URL", url)
        with pytest.raises(BadSettings, match=f"TASKDAEMON_URL .*{sentence}"):
            Client()


def test_a_password_in_the_address_takes_no_keys_place(file: Path) -> None:
    with pytest.raises(BadSettings, match="whose password would be sent in the place of the API key") as refused:
        settings("http://me:secret@x", "key")
    assert "secret" not in str(refused.value)
    assert settings("http://me:secret@x").api_key is None


def test_a_user_without_a_home_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "TASKDAEMON_API_KEY", "TASKDAEMON_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert settings("http://x").url == "http://x"


@pytest.mark.parametrize("key", ["tpk_secret\n", " tpk_secret", "tpk_secr\u00e9t"])
def test_a_key_that_no_header_can_have_is_refused_and_not_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(BadSettings, match="the API key of the argument api_key has a blank") as refused:
        Client("http://x", key)
    monkeypatch.setenv("TASKDAEMON_API_KEY", key)
    with pytest.raises(BadSettings, match="the API key of TASKDAEMON_API_KEY has a blank") as from_environment:
        Client("http://x")
    assert "secr" not in f"{refused.value!r}{from_environment.value!r}"


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_no_key_is_sent_by_a_file_that_others_can_write(
    file: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    file.chmod(mode)
    with pytest.raises(BadSettings, match=r"can be written by other users, so no key is sent; type: chmod go-w /"):
        settings()
    assert found(profile="work") == ("http://work", None)
    assert "can be written by other users" in caplog.text
