"""Where the platform is, and with which key: arguments, the environment, a file of profiles."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskdaemon_client.errors import TaskdaemonError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_URL = "http://127.0.0.1:8080"


class BadSettings(TaskdaemonError):
    """The file of profiles cannot be used, or has no such profile."""


@dataclass(frozen=True)
class Settings:
    """Where to send requests. `source`: what named the address, for messages."""

    url: str
    api_key: str | None = field(repr=False)
    source: str


def config_file() -> Path:
    """The file of profiles: `~/.config/taskdaemon/config.toml`, or below XDG_CONFIG_HOME.

    ```toml
    default = "production"

    [profiles.production]
    url = "https://tasks.example.org"
    api_key = "..."
    ```
    """
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "taskdaemon" / "config.toml"


def settings(url: str | None = None, api_key: str | None = None, profile: str | None = None) -> Settings:
    """Find the address and the key.

    The address is the first of: `url`; the profile that `profile` names; TASKDAEMON_URL; the profile that
    TASKDAEMON_PROFILE names; the file's `default`; http://127.0.0.1:8080. The key is `api_key`, else that of the
    profile if the address is the profile's, else TASKDAEMON_API_KEY. So a profile's key goes to its own address only.
    Raises `BadSettings`.
    """
    environment = os.environ
    given_key = api_key or environment.get("TASKDAEMON_API_KEY")
    if url is not None:
        return Settings(url, given_key, "the argument")
    if profile is None and environment.get("TASKDAEMON_URL"):
        return Settings(environment["TASKDAEMON_URL"], given_key, "TASKDAEMON_URL")
    file = config_file()
    written = _read(file)
    name = profile or environment.get("TASKDAEMON_PROFILE") or written.get("default")
    if name is None:
        return Settings(DEFAULT_URL, given_key, "the default")
    profiles = written.get("profiles", {})
    if name not in profiles:
        raise BadSettings(f"{file} has no profile {name!r}; it has {', '.join(sorted(profiles)) or 'none'}")
    if not isinstance(profiles[name].get("url"), str):
        raise BadSettings(f"{file}: [profiles.{name}] has no url")
    key = api_key or profiles[name].get("api_key") or given_key
    return Settings(profiles[name]["url"], key, f"the profile {name!r} in {file}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BadSettings(f"{file} cannot be read: {error}") from error
