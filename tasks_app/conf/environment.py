"""The settings of a deployment, typed, and where this code lies: in a checkout, or where a wheel was installed."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks_app.conf import weak_secrets
from tasks_app.handlers.keys import memory
from tasks_app.handlers.mounts import MountRules, normal
from tasks_app.handlers.words import retention

#: The folder of the packages: a checkout, or where a wheel was installed, where nothing may be written beside it.
CODE = Path(__file__).resolve().parents[2]
#: A wheel has the examples there, a checkout does not. Relative to `CODE`.
EXAMPLES = Path("taskdaemon_site/examples")
#: True if the code is an installed package: pip writes this folder beside it, and beside no checkout.
INSTALLED = any(CODE.glob("taskdaemon_platform-*.dist-info"))
#: Where relative paths of settings begin: in the folder of `manage.py`, or in the current one.
FOLDER = Path.cwd() if INSTALLED else CODE
#: The word that users type before a command's name.
PROGRAM = "taskdaemon-platform" if INSTALLED else "manage.py"

MAX_BODY_BYTES = 64 * 1024 * 1024
#: Places at which DAEMON_FAIL_POINT makes a process fail (`tasks_app.process`).
FAIL_POINTS = (
    "inside_claim", "after_claim", "before_settle", "after_settle", "after_commit_before_notification",
    "inside_grouping", "before_batch_commit", "after_batch_commit", "after_act_before_answer", "inside_firing",
    "after_firing", "inside_telling", "after_telling", "after_moved",
)  # fmt: skip

ENCODED = "special characters in a user or password are percent-encoded (p%40ss)"
NOT_ENCODED = (
    "its user or password has a /, ? or #, which ends it in a URL; special characters are percent-encoded, as p%40ss "
    "for p@ss (python3 -c 'from getpass import *; from urllib.parse import *; print(quote(getpass(), str()))' does it)"
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: The parts of a Host header, as Django reads it: a part of a name, an IPv6 address.
_NAME, _IPV6 = "[a-z0-9-]+", r"\[[a-f0-9]*:[a-f0-9.:]+\]"
#: An address, or a part of one: numbers in any form that resolvers take.
_ADDRESS = re.compile(rf"\.*(0x[0-9a-f]*|[0-9]+)(\.+(0x[0-9a-f]*|[0-9]+))*\.*|{_IPV6}", re.IGNORECASE)
#: An @ in the text after the host of a URL, except in a parameter (`?user=ada@tenant`).
_LATE_AT = re.compile(r"[^?]*@|[^?]*\?.*(#.*@|@[^&]*[/?#@])", re.DOTALL)


def ours(command: str) -> str:
    """A command of the platform as users type it here, such as `manage.py prepare`."""
    return f"{PROGRAM} {command}"


def _named(variable: str, default: Any, **limits: Any) -> Any:
    return Field(default, alias=variable, **limits)


class Environment(BaseModel):
    """Every variable that the platform reads. Durations are in seconds, paths are absolute."""

    model_config = ConfigDict(frozen=True, validate_default=True, allow_inf_nan=False)

    handler_config: Path = _named("HANDLER_CONFIG", Path("handlers.toml"))
    host: str = _named("DAEMON_HOST", "127.0.0.1")
    port: int = _named("DAEMON_PORT", 8080, ge=1, le=65535)
    home: Path = _named("DAEMON_HOME", Path("var"))
    db_path: Path | None = _named("DAEMON_DB_PATH", None)
    static_root: Path | None = _named("DAEMON_STATIC_ROOT", None)
    database_url: str | None = _named("DATABASE_URL", None)
    broker_url: str | None = _named("DAEMON_BROKER_URL", None)
    task_selection: Literal["fifo", "lifo", "priority"] = _named("DAEMON_TASK_SELECTION", "fifo")
    task_timeout: float = _named("DAEMON_TASK_TIMEOUT", 30.0, gt=0, le=86_400 * 7)
    max_retries: int = _named("DAEMON_MAX_RETRIES", 3, ge=0, le=1000)
    retry_backoff: float = _named("DAEMON_RETRY_BACKOFF", 1.0, ge=0, le=60)
    workers: int | None = _named("DAEMON_WORKERS", None, ge=1, le=10_000)
    lease: float = _named("DAEMON_LEASE", 30.0, ge=6, le=600)
    idempotency_ttl: float = _named("DAEMON_IDEMPOTENCY_TTL", 86_400.0, gt=0, le=86_400 * 366)
    retention_completed: float | None = _named("DAEMON_RETENTION_COMPLETED", None)
    retention_failed: float | None = _named("DAEMON_RETENTION_FAILED", None)
    retention_audit: float | None = _named("DAEMON_RETENTION_AUDIT", 400 * 86_400.0)
    drain_timeout: float = _named("DAEMON_DRAIN_TIMEOUT", 30.0, ge=0, le=3600)
    handler_profile: Literal["sealed", "open"] = _named("DAEMON_HANDLER_PROFILE", "sealed")
    default_memory: int | None = _named("DAEMON_DEFAULT_MEMORY", None)
    docker_transport: Literal["auto", "attach", "fifo"] = _named("DAEMON_DOCKER_TRANSPORT", "auto")
    create_timeout: float = _named("DAEMON_CREATE_TIMEOUT", 10.0, gt=0, le=600)
    mount_roots: str = _named("DAEMON_MOUNT_ROOTS", "")
    writable_roots: str = _named("DAEMON_WRITABLE_ROOTS", "")
    log_level: Literal["debug", "info", "warning", "error"] = _named("DAEMON_LOG_LEVEL", "info")
    secret_key: str | None = _named("DAEMON_SECRET_KEY", None, min_length=32)
    secret_key_fallback: str | None = _named("DAEMON_SECRET_KEY_FALLBACK", None, min_length=32)
    allowed_hosts: str = _named("DAEMON_ALLOWED_HOSTS", "")
    allowed_origins: str = _named("DAEMON_ALLOWED_ORIGINS", "")
    trusted_proxies: str = _named("DAEMON_TRUSTED_PROXIES", "")
    auth: Literal["keys", "off"] = _named("DAEMON_AUTH", "keys")
    tls: bool = _named("DAEMON_TLS", False)
    web_threads: int = _named("DAEMON_WEB_THREADS", 8, ge=1, le=256)
    body_timeout: float = _named("DAEMON_BODY_TIMEOUT", 10.0, gt=0, le=3600)
    max_body: int = _named("DAEMON_MAX_BODY", 1024 * 1024, ge=1024, le=MAX_BODY_BYTES)
    max_queue: int = _named("DAEMON_MAX_QUEUE", 1_000_000, ge=1)
    admin_password: str | None = _named("DAEMON_ADMIN_PASSWORD", None, min_length=8)
    api_key: str | None = _named("DAEMON_API_KEY", None)
    max_rate: float | None = _named("DAEMON_MAX_RATE", None, gt=0, le=1_000_000)

    alert_url: str | None = _named("DAEMON_ALERT_URL", None)
    alert_oldest: float = _named("DAEMON_ALERT_OLDEST", 300.0, gt=0, le=86_400 * 7)
    alert_failed_share: float = _named("DAEMON_ALERT_FAILED_SHARE", 0.1, gt=0, le=1)
    alert_failed_logins: int = _named("DAEMON_ALERT_FAILED_LOGINS", 20, ge=1, le=1_000_000)
    alert_hold: float = _named("DAEMON_ALERT_HOLD", 30.0, ge=1, le=3600)

    callback_secrets: str = _named("DAEMON_CALLBACK_SECRETS", "")
    callback_hosts: str = _named("DAEMON_CALLBACK_HOSTS", "")

    testing: bool = _named("DAEMON_TESTING", False)
    callback_hurry: float = _named("DAEMON_CALLBACK_HURRY", 1.0, ge=1, le=1_000_000)
    fail_point: str | None = _named("DAEMON_FAIL_POINT", None)

    @field_validator("task_selection", "handler_profile", "docker_transport", "log_level", "auth", mode="before")
    @classmethod
    def _lower_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("default_memory", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return None if value is None else memory(value)

    @field_validator("retention_completed", "retention_failed", "retention_audit", mode="before")
    @classmethod
    def _retention(cls, value: Any) -> Any:
        return None if value is None else retention(value)

    @field_validator("mount_roots", "writable_roots")
    @classmethod
    def _directories(cls, value: str) -> str:
        for word in _words(value):
            # A parent of a forbidden path (/, /var) is a valid root: its other contents may be mounted.
            if MountRules().never(normal(word)):
                raise ValueError(f"{word} is never given to a handler, nor is anything in it")
        return value

    @field_validator("host")
    @classmethod
    def _address(cls, value: str) -> str:
        """Takes an IPv6 address in brackets too, as a URL has it."""
        bare = value[1:-1] if re.fullmatch(_IPV6, value, re.IGNORECASE) else value
        if not re.fullmatch(r"[\w.-]+", bare):
            try:
                ip_address(bare)
            except ValueError:
                raise ValueError(
                    f"{value!r} is not an address or a host name such as 0.0.0.0, ::1 or localhost, without a port"
                ) from None
        return bare

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, mark, _ = value.partition("://")
        if not mark or scheme not in ("redis", "rediss", "amqp", "amqps"):
            raise ValueError("must begin with redis://, rediss://, amqp:// or amqps://; unset: no broker")
        parts = _split(value)
        # The client libraries take settings from there: with ssl_cert_reqs=none they would check no certificate.
        if parts.query or parts.fragment:
            raise ValueError(f"must end with its path, without ? and #; {ENCODED}")
        if scheme.startswith("redis") and not re.fullmatch(r"/{0,2}[0-9]*", parts.path):
            raise ValueError("its path must be the number of a database, such as redis://host:6379/0")
        return value

    @field_validator("alert_url")
    @classmethod
    def _webhook(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or not value.isascii() or not value.isprintable() or " " in value or "#" in value:
            raise ValueError("must be a URL that takes a POST, such as https://hooks.example.org/services/SECRET")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is not None and value.split(":")[0] not in ("postgres", "postgresql", "sqlite"):
            raise ValueError("must begin with postgres:// (or sqlite:///); unset: SQLite in DAEMON_HOME")
        if value is None:
            return None
        if not value.startswith("sqlite"):
            parts = _split(value)
            if parts.fragment:
                raise ValueError(NOT_ENCODED)
            if not parts.path.strip("/") and "service=" not in parts.query:
                raise ValueError("names no database; it is postgres://USER:PASSWORD@HOST:5432/NAME")
            return value
        file = _file_of(value)
        if file in ("", ":memory:"):
            raise ValueError("names no file (sqlite:////path/of/file); processes cannot share a database in memory")
        _, mark, query = value.partition("?")
        return f"sqlite:///{quote(str(FOLDER / file))}{mark}{query}"

    @field_validator("callback_secrets")
    @classmethod
    def _sign(cls, value: str) -> str:
        if fault := next(filter(None, map(weak_secrets.signing_fault, _words(value))), None):
            raise ValueError(f"{fault}; several are separated by commas")
        return value

    @field_validator("callback_hosts")
    @classmethod
    def _hosts_of_callbacks(cls, value: str) -> str:
        for word in _words(value):
            found = re.fullmatch(rf"(\.?[a-z0-9_-][a-z0-9._-]*|{_IPV6})(:[0-9]+)?", word, re.IGNORECASE)
            if found is None:
                raise ValueError(
                    f"{word!r} is not a host name such as hooks.internal, or with a port, hooks.internal:8443, or "
                    ".internal for its subdomains"
                )
            if _ADDRESS.fullmatch(found[1]):
                try:
                    ip_address(found[1].strip("[]"))
                except ValueError:
                    raise ValueError(
                        f"{word!r} looks like a part of an address, and only names have subdomains; write each address "
                        "whole, such as 127.0.0.1 or [::1]"
                    ) from None
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names_of_hosts(cls, value: str) -> str:
        for word in _words(value):
            if not re.fullmatch(rf"\.?{_NAME}(\.{_NAME})*|{_IPV6}", word, re.IGNORECASE):
                raise ValueError(
                    f"{word!r} is not a host name such as tasks.example.org, without a port, or .example.org for its "
                    "subdomains"
                )
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for word in _words(value):
            # Browsers write it in lower case and without the scheme's own port; another notation equals none of theirs.
            if not re.fullmatch(rf"https?://([a-z0-9._-]+|{_IPV6})(:[0-9]+)?", word) or re.fullmatch(
                r"http:.*:80|https:.*:443", word
            ):
                raise ValueError(
                    f"{word!r} is not an origin such as https://tasks.example.org, in lower case, with a port only if "
                    "it is not the usual one"
                )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses_of_proxies(cls, value: str) -> str:
        for word in _words(value):
            hint = ""
            try:
                network = ip_network(word)
            except ValueError:
                with suppress(ValueError):
                    hint = f"; the network of that address is {ip_network(word, strict=False)}"
                raise ValueError(
                    f"{word!r} is not an address or a network such as 127.0.0.1, 10.0.0.0/8 or fd00::/8{hint}"
                ) from None
            if network.prefixlen == 0:
                raise ValueError(f"{word!r} is every address: then anybody can name any address as theirs")
        return value

    @field_validator("fail_point")
    @classmethod
    def _known_fail_point(cls, value: str | None) -> str | None:
        name, _, rest = (value or "").partition(":")
        if value is not None and (name not in FAIL_POINTS or rest.partition(":")[0] not in ("", "kill", "raise")):
            raise ValueError(f"must be one of {', '.join(FAIL_POINTS)}, followed by :kill or :raise and :/a/file")
        return value

    @field_validator("handler_config", "home", "db_path", "static_root")
    @classmethod
    def _relative_to_the_folder(cls, value: Path | None) -> Path | None:
        return None if value is None else FOLDER / value.expanduser()

    @model_validator(mode="after")
    def _safe(self) -> Environment:
        faults = [
            *weak_secrets.placeholders(
                {
                    "DAEMON_SECRET_KEY": self.secret_key,
                    "DAEMON_SECRET_KEY_FALLBACK": self.secret_key_fallback,
                    "DAEMON_ADMIN_PASSWORD": self.admin_password,
                }
            ),
            *weak_secrets.key_faults("DAEMON_API_KEY", self.api_key),
            *weak_secrets.default_passwords(
                {"DATABASE_URL": self.database_url, "DAEMON_BROKER_URL": self.broker_url} if self.exposed else {}
            ),
        ]
        for variable, is_set, effect in (
            ("DAEMON_FAIL_POINT", self.fail_point, "makes the process kill itself"),
            ("DAEMON_CALLBACK_HURRY", self.callback_hurry != 1.0, "tries callbacks again too soon"),
        ):
            if is_set and not self.testing:
                allow = "unset it, or set DAEMON_TESTING=true to allow it"
                faults.append(f"{variable}: {effect}, only for tests; {allow}")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def mount_rules(self) -> MountRules:
        """Which files of this machine handlers may mount. Never the database and the secret key."""
        database = str(self.database_file)
        if self.database_url and not self.has_database_server:
            database = _file_of(self.database_url)
        private = (str(self.home), database, f"{database}-wal", f"{database}-shm")
        return MountRules(
            tuple(normal(word) for word in _words(self.mount_roots)),
            tuple(os.path.abspath(path) for path in private),
            tuple(normal(word) for word in _words(self.writable_roots)),
            (*(str(CODE / name) for name in ("tasks_app", "taskdaemon_site", "manage.py")), sys.prefix),
        )

    @property
    def has_database_server(self) -> bool:
        """Whether DATABASE_URL names a server. Otherwise the database is a file of this machine."""
        return self.database_url is not None and not self.database_url.startswith("sqlite:")

    @property
    def database_file(self) -> Path:
        """The SQLite file of the embedded mode."""
        return self.db_path or self.home / "taskdaemon.sqlite3"

    def body_limit(self, path: str) -> int:
        """The largest body, in bytes, of a request to this path. A batch may be eight times as large as a task."""
        batch = path.rstrip("/") == "/queue/batch"
        return min(self.max_body * 8, MAX_BODY_BYTES) if batch else self.max_body

    @cached_property
    def draining_file(self) -> Path:
        """Exists while `manage.py up` stops. The web server then refuses new tasks."""
        return self.home / "draining"

    @cached_property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The proxies whose X-Forwarded-For is believed."""
        return tuple(ip_network(word) for word in _words(self.trusted_proxies))

    @property
    def signing_secrets(self) -> tuple[str, ...]:
        """The secrets that sign callbacks (`whsec_...`) of tasks whose API key has no secret of its own; each adds a
        signature."""
        return tuple(_words(self.callback_secrets))

    @property
    def private_hosts(self) -> frozenset[str]:
        """Hosts to which callbacks may go although their addresses are private, in lower case as URLs have them.

        With a port or without; `.example.org` stands for all subdomains.
        """
        return frozenset(word.lower() for word in _words(self.callback_hosts))

    @property
    def exposed(self) -> bool:
        """True if other machines can reach the web server, itself or through a proxy that it trusts."""
        return self.host not in LOOPBACK or bool(self.proxies)

    @property
    def open_on_loopback(self) -> bool:
        """True if this machine's programs may call without a key as long as no key was made."""
        return self.auth != "off" and self.host in LOOPBACK

    @property
    def embedded(self) -> bool:
        """True if there is no broker: notifications use the `local` transport, on one machine."""
        return self.broker_url is None

    @property
    def hosts(self) -> list[str]:
        """The accepted Host headers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return list(dict.fromkeys([*LOOPBACK[:2], "[::1]", host, *_words(self.allowed_hosts)]))

    @property
    def origins(self) -> list[str]:
        """Origins, besides the server's own, whose pages may call unsafe methods."""
        return _words(self.allowed_origins)


def _split(url: str) -> SplitResult:
    """The parts of the URL of a server. Raises ValueError, with a sentence that has no part of it."""
    # An @ behind the host: a password has ended too early, and its rest would be taken for the host, and printed.
    authority = re.match(r"[^:]*://[^/?#]*", url)
    if _LATE_AT.match(url[authority.end() if authority else 0 :]):
        raise ValueError(NOT_ENCODED)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"its port must be a number from 0 to 65535; {ENCODED}") from None
    return parts


def _file_of(url: str) -> str:
    """The file of a URL of SQLite, such as `sqlite:////path/of/a%20file?timeout=5`; blank if it names none."""
    return unquote(url.partition("?")[0].partition("///")[2])


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]
