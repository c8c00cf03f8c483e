"""The platform's address and the key, from arguments, the environment or a file of profiles."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from taskdaemon_client.errors import TaskdaemonError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

log = logging.getLogger("taskdaemon_client")

DEFAULT_URL = "http://127.0.0.1:8080"


class BadSettings(TaskdaemonError):
    """The address, the key or the file of profiles cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The address and the key of requests. `source`, `key_source`: where each was found, for messages.

    `forwarded_proto`: the header X-Forwarded-Proto of each request, see `settings`.
    """

    url: str
    api_key: str | None = field(repr=False)
    source: str
    key_source: str
    forwarded_proto: str | None = field(default_factory=lambda: os.environ.get("TASKDAEMON_FORWARDED_PROTO"))

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.url)
        except (httpx2.InvalidURL, TypeError):
            url = httpx2.URL()
        if url.scheme not in ("http", "https") or not url.host:
            if str(self.url).startswith("tpk_"):
                raise BadSettings(f"{self.source} has an API key where an address belongs")
            meant = f"http://{self.url}" if self.url and "//" not in str(self.url) else DEFAULT_URL
            raise BadSettings(f"{self.source} says {self.url!r}, which is no address; is it {meant}?")
        if url.path.rstrip("/").endswith("/queue"):
            raise BadSettings(f"{self.source} says {self.url!r}; the address ends before /queue")
        if self.api_key and url.userinfo:
            raise BadSettings(f"{self.source} has a user, whose password would be sent in the place of the API key")
        if self.api_key and not re.fullmatch("[!-~]+", self.api_key):
            raise BadSettings(f"the API key of {self.key_source} has a blank, a line break or a character beyond ASCII")

    @property
    def key_hint(self) -> str:
        """The advice for a key that the platform refuses."""
        if self.api_key:
            return f"; the key is that of {self.key_source}"
        return "; there is no key: set TASKDAEMON_API_KEY, name a profile with an api_key, or in Python pass api_key="


def config_file() -> Path:
    """The file of profiles: `~/.config/taskdaemon/config.toml`, or below XDG_CONFIG_HOME.

    ```toml
    default = "production"

    [profiles.production]
    url = "https://tasks.example.org"
    api_key = "..."
    ```
    """
    # Path.home() raises where a user has no home.
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "taskdaemon" / "config.toml"


def settings(url: str | None = None, api_key: str | None = None, profile: str | None = None) -> Settings:
    """Find the address and the key.

    The address is the first of: `url`; the profile that `profile` names; TASKDAEMON_URL; the profile that
    TASKDAEMON_PROFILE names; the file's `default`; http://127.0.0.1:8080. The key is `api_key`, else the profile's key
    if the address is the profile's, else TASKDAEMON_API_KEY. So a profile's key goes to its own address only.
    TASKDAEMON_FORWARDED_PROTO=https is for a process behind the proxy that ends TLS, which calls the web server over
    HTTP: each call says, as the proxy would, that it came over TLS. Raises `BadSettings`.
    """
    environment, file = os.environ, config_file()
    key, key_source = api_key, "the argument api_key"
    if not api_key:
        key, key_source = environment.get("TASKDAEMON_API_KEY"), "TASKDAEMON_API_KEY"
    named = _profile(file, _read(file), profile) if profile else None
    if url is not None:
        return Settings(url, key, "the argument url", key_source)
    if named is None:
        if environment.get("TASKDAEMON_URL"):
            return Settings(environment["TASKDAEMON_URL"], key, "TASKDAEMON_URL", key_source)
        written = _read(file)
        profile = environment.get("TASKDAEMON_PROFILE") or written.get("default")
        if profile is None:
            return Settings(DEFAULT_URL, key, "the default", key_source)
        named = _profile(file, written, profile)
    source = f"the profile {profile!r} in {file}"
    if named.get("api_key") and not api_key:
        key, key_source = named["api_key"], source
    if os.name == "posix" and file.stat().st_mode & 0o022:
        # A user who can write the address gets the key.
        if key:
            raise BadSettings(f"{file} can be written by other users, so no key is sent; type: chmod go-w {file}")
        log.warning("%s can be written by other users; type: chmod go-w %s", file, file)
    return Settings(named["url"], key, source, key_source)


def _profile(file: Path, written: dict[str, Any], name: str) -> dict[str, Any]:
    if not file.exists():
        raise BadSettings(f"{file} does not exist, so it has no profile {name!r}")
    profiles = written.get("profiles", {})
    if name not in profiles:
        raise BadSettings(f"{file} has no profile {name!r}; it has {', '.join(sorted(profiles)) or 'none'}")
    profile = _checked(f"{file}: [profiles.{name}]", profiles[name], {"url": str, "api_key": str})
    if "url" not in profile:
        raise BadSettings(f"{file}: [profiles.{name}] has no url")
    return profile


def _read(file: Path) -> dict[str, Any]:
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BadSettings(f"{file} cannot be read: {error}") from error
    return _checked(f"{file}:", written, {"default": str, "profiles": dict})


def _checked(where: str, table: Any, keys: dict[str, type]) -> dict[str, Any]:
    """A table of the file. Raises `BadSettings` if it has other keys than these, or values of other types."""
    if not isinstance(table, dict):
        raise BadSettings(f"{where} must be a table")
    for key, value in table.items():
        if key not in keys:
            close = difflib.get_close_matches(key, keys, 1)
            raise BadSettings(
                f"{where} {key!r} is unknown; "
                + (f"did you mean {close[0]}?" if close else f"there are {', '.join(keys)}")
            )
        if not isinstance(value, keys[key]):
            must = "a table, such as [profiles.production]" if keys[key] is dict else "a string"
            raise BadSettings(f"{where} {key} must be {must}")
    return table
