"""A bad value stops the start. All bad values are named at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.http.request import split_domain_port, validate_host

from tasks_app import conf
from tasks_app.conf.reading import no_shared_key, signing_key, unknown_variables
from tasks_app.queue.settings import database_settings
from testkit.daemon import shipped
from testkit.process import PROJECT, Process

BAD = [
    ("DAEMON_PORT", "0", "must be a whole number from 1 to 65535 (it is '0')"),
    ("DAEMON_PORT", "80.5", "must be a whole number from 1 to 65535"),
    ("DAEMON_TASK_TIMEOUT", "0", "must be a number over 0, to 604800"),
    ("DAEMON_TASK_TIMEOUT", "nan", "must be a number over 0, to 604800"),
    ("DAEMON_MAX_RETRIES", "-1", "must be a whole number from 0 to 1000"),
    ("DAEMON_RETRY_BACKOFF", "61", "must be a number from 0 to 60"),
    ("DAEMON_WORKERS", "0", "must be a whole number from 1 to 10000"),
    ("DAEMON_LEASE", "5", "must be a number from 6 to 600"),
    ("DAEMON_LEASE", "601", "must be a number from 6 to 600"),
    ("DAEMON_IDEMPOTENCY_TTL", "0", "must be a number over 0, to 31622400"),
    ("DAEMON_IDEMPOTENCY_TTL", "31622401", "must be a number over 0, to 31622400"),
    ("DAEMON_RETENTION_COMPLETED", "30 days", "'30 days' is no retention; write a number of seconds or a string such"),
    ("DAEMON_RETENTION_COMPLETED", "0", "from 1 second to 36500d"),
    ("DAEMON_RETENTION_FAILED", "-1", "'-1' is no retention"),
    ("DAEMON_RETENTION_FAILED", "nan", "'nan' is no retention"),
    ("DAEMON_RETENTION_AUDIT", "36501d", 'or "never"'),
    ("DAEMON_ALERT_URL", "hooks.example.org", "must be a URL that takes a POST"),
    ("DAEMON_ALERT_URL", "ftp://hooks.example.org/x", "must be a URL that takes a POST"),
    ("DAEMON_ALERT_URL", "https://hooks.example.org:99999/x", "must be a URL that takes a POST"),
    ("DAEMON_ALERT_URL", "https://hooks.example.org/x\r\nHost: y", "must be a URL that takes a POST"),
    ("DAEMON_ALERT_OLDEST", "0", "must be a number over 0, to 604800"),
    ("DAEMON_ALERT_FAILED_SHARE", "1.5", "must be a number over 0, to 1"),
    ("DAEMON_ALERT_HOLD", "0", "must be a number from 1 to 3600"),
    (
        "DAEMON_CALLBACK_SECRETS",
        "secret",
        "a secret that signs callbacks is whsec_ and base64 of 24 to 64 random bytes",
    ),
    ("DAEMON_CALLBACK_SECRETS", "whsec_c2hvcnQ=", "a secret that signs callbacks is whsec_"),
    ("DAEMON_CALLBACK_HOSTS", "http://localhost", "'http://localhost' is not a host name"),
    ("DAEMON_CALLBACK_HOSTS", "10.0.0.0/8", "is not a host name such as hooks.internal, or with a port"),
    ("DAEMON_CALLBACK_HURRY", "100", "or set DAEMON_TESTING=true"),
    ("DAEMON_FAIL_POINT", "everywhere", "must be one of inside_claim, "),
    ("DAEMON_FAIL_POINT", "after_claim:explode", "followed by :kill or :raise"),
    ("DAEMON_FAIL_POINT", "after_claim", "or set DAEMON_TESTING=true"),
    ("DAEMON_DRAIN_TIMEOUT", "-1", "must be a number from 0 to 3600"),
    ("DAEMON_CREATE_TIMEOUT", "0", "must be a number over 0, to 600"),
    ("DAEMON_HANDLER_PROFILE", "closed", "must be sealed or open"),
    ("DAEMON_DEFAULT_MEMORY", "512 megs", "'512 megs' is not a size; write a string like \"512m\""),
    ("DAEMON_DEFAULT_MEMORY", "512", "is not a size"),
    ("DAEMON_DEFAULT_MEMORY", "1m", 'out of range; write "16m" or more'),
    ("DAEMON_HOST", "0.0.0.0:8080", "is not an address or a host name"),
    ("DAEMON_HOST", "http://a.example", "is not an address or a host name"),
    ("DAEMON_HOST", "[fd00::1]:80", "is not an address or a host name"),
    ("DAEMON_MOUNT_ROOTS", "srv", "is not an absolute path"),
    ("DAEMON_MOUNT_ROOTS", "/srv,/srv/../etc", "is not an absolute path without .."),
    ("DAEMON_MOUNT_ROOTS", "/srv, /etc/ssl", "/etc/ssl is never given to a handler"),
    ("DAEMON_LOG_LEVEL", "verbose", "must be debug, info, warning or error"),
    ("DAEMON_SECRET_KEY", "short", "must have at least 32 characters"),
    ("DAEMON_SECRET_KEY_FALLBACK", "short", "must have at least 32 characters"),
    ("DAEMON_SECRET_KEY_FALLBACK", "changeme" * 6, "is a placeholder"),
    ("DAEMON_AUTH", "none", "must be keys or off"),
    ("DAEMON_ADMIN_PASSWORD", "short", "must have at least 8 characters"),
    ("DAEMON_ADMIN_PASSWORD", "change-me-now", "is a placeholder"),
    ("DAEMON_SECRET_KEY", "changeme" * 6, "is a placeholder"),
    ("DAEMON_SECRET_KEY", "abcabcabc" * 6, "is a placeholder"),
    ("DAEMON_API_KEY", "tpk_" + "changeme" * 6, "is a placeholder"),
    ("DAEMON_API_KEY", "tpk_mine", "a key begins with tpk_ and has 40 to 196 random characters"),
    ("DAEMON_TLS", "perhaps", "must be true or false (it is 'perhaps')"),
    ("DAEMON_WEB_THREADS", "0", "must be a whole number from 1 to 256"),
    ("DAEMON_BODY_TIMEOUT", "0", "must be a number over 0, to 3600"),
    ("DAEMON_MAX_BODY", "1", "must be a whole number from 1024 to 67108864"),
    ("DAEMON_MAX_QUEUE", "0", "must be a whole number of at least 1"),
    ("DAEMON_MAX_RATE", "0", "must be a number over 0, to 1000000"),
    ("DAEMON_BROKER_URL", "redis://localhost:99999/", "its port must be a number from 0 to 65535"),
    ("DAEMON_BROKER_URL", "redis", "must begin with redis://"),
    ("DAEMON_BROKER_URL", "redis://:p/w@broker:6379/0", "are percent-encoded"),
    ("DAEMON_BROKER_URL", "redis://:p?w@broker/0", "are percent-encoded"),
    ("DAEMON_BROKER_URL", "redis://broker/tasks", "its path must be the number of a database"),
    ("DAEMON_BROKER_URL", "rediss://broker:6380/0?ssl_cert_reqs=none", "without ? and #"),
    ("DAEMON_BROKER_URL", "amqps://broker//?ssl_cert_reqs=none", "without ? and #"),
    ("DATABASE_URL", "sqlite:///", "names no file"),
    ("DATABASE_URL", "sqlite:///?timeout=5", "names no file"),
    ("DATABASE_URL", "sqlite:///:memory:", "cannot share a database in memory"),
    ("DAEMON_ALLOWED_HOSTS", "*", "is not a host name"),
    ("DAEMON_ALLOWED_HOSTS", "http://a.example/", "is not a host name"),
    ("DAEMON_ALLOWED_HOSTS", "a.example:8443", "is not a host name such as tasks.example.org, without a port"),
    ("DAEMON_ALLOWED_HOSTS", "*.a.example", ".example.org for its subdomains"),
    ("DAEMON_ALLOWED_HOSTS", "a.example;b.example", "is not a host name"),
    ("DAEMON_ALLOWED_HOSTS", "fd00::1", "is not a host name"),
    ("DAEMON_ALLOWED_ORIGINS", "a.example", "is not an origin"),
    ("DAEMON_ALLOWED_ORIGINS", "https://a.example/", "is not an origin"),
    ("DAEMON_ALLOWED_ORIGINS", "https://A.example", "in lower case"),
    ("DAEMON_ALLOWED_ORIGINS", "https://a.example:443", "with a port only if"),
    ("DAEMON_ALLOWED_ORIGINS", "https://*.a.example", "is not an origin"),
    ("DAEMON_ALLOWED_ORIGINS", "https://[", "is not an origin"),
    ("DAEMON_TRUSTED_PROXIES", "nginx", "'nginx' is not an address or a network such as 127.0.0.1, 10.0.0.0/8"),
    ("DAEMON_TRUSTED_PROXIES", "10.0.0.1:80", "is not an address or a network"),
    ("DAEMON_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.7/8", "the network of that address is 10.0.0.0/8"),
    ("DAEMON_TRUSTED_PROXIES", "127.0.0.1,0.0.0.0/0", "'0.0.0.0/0' is every address"),
    ("DAEMON_TRUSTED_PROXIES", "::/0", "'::/0' is every address"),
    ("DAEMON_ALERT_FAILED_LOGINS", "0", "must be a whole number from 1 to 1000000"),
    ("DATABASE_URL", "postgres://u:p/word@127.0.0.1/x", "percent-encoded"),
    ("DATABASE_URL", "postgres://u:12?34@127.0.0.1/x", "percent-encoded, as p%40ss for p@ss"),
    ("DATABASE_URL", "postgres://u:p@ss#rd@127.0.0.1/x", "percent-encoded, as p%40ss for p@ss"),
    ("DAEMON_BROKER_URL", "amqp://u:p@ss/w@127.0.0.1/x", "percent-encoded, as p%40ss for p@ss"),
    ("DAEMON_CALLBACK_HOSTS", "127.", "looks like a part of an address"),
    ("DAEMON_CALLBACK_HOSTS", ".1:80", "looks like a part of an address"),
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DAEMON_") or name in ("DATABASE_URL", "HANDLER_CONFIG"):
            monkeypatch.delenv(name)


def refusal() -> conf.BadEnvironment:
    """Why the environment as it is now is refused."""
    with pytest.raises(conf.BadEnvironment) as caught:
        conf.read()
    return caught.value


@pytest.mark.parametrize(("name", "value", "said"), BAD, ids=[f"{name}={value}" for name, value, _ in BAD])
def test_a_bad_value_names_its_variable_and_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    (fault,) = refusal().faults
    assert said in fault
    assert name in fault


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgres://postgres:postgres@db/x"),
        ("DATABASE_URL", "postgres://x:change%2Dme@db/x"),
        ("DAEMON_BROKER_URL", "amqp://guest:guest@broker//"),
        ("DAEMON_BROKER_URL", "redis://:password@broker/0"),
    ],
)
def test_a_default_password_is_refused_only_beyond_loopback(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv("DAEMON_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")
    monkeypatch.setenv(name, url)
    conf.read()
    monkeypatch.setenv("DAEMON_HOST", "0.0.0.0")
    (fault,) = refusal().faults
    assert fault.startswith(f"{name}: its password")
    assert url not in fault


def test_all_bad_values_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DAEMON_PORT", "x"), ("DAEMON_TASK_TIMEOUT", "x"), ("DAEMON_LOG_LEVEL", "x")):
        monkeypatch.setenv(name, value)
    assert [fault.partition(":")[0] for fault in refusal().faults] == [
        "DAEMON_PORT", "DAEMON_TASK_TIMEOUT", "DAEMON_LOG_LEVEL",
    ]  # fmt: skip


def test_checks_of_valid_values_run_beside_invalid_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "handlers.toml"
    file.write_text('[handlers.one]\nimage = "x"\nmounts = ["/srv/x:/x"]\ninstances = 0\n')
    for name, value in (
        ("DAEMON_PORT", "0"),
        ("DAEMON_MOUNT_ROOTS", "srv"),
        ("DAEMON_SECRET_KEY", "changeme" * 6),
        ("HANDLER_CONFIG", str(file)),
    ):
        monkeypatch.setenv(name, value)
    refused = refusal()
    assert [fault.partition(":")[0] for fault in refused.faults] == [
        "DAEMON_PORT", "DAEMON_MOUNT_ROOTS", "DAEMON_SECRET_KEY",
    ]  # fmt: skip
    # DAEMON_MOUNT_ROOTS is invalid, so mounts are not checked against it.
    faults = [fault.partition(": 0")[0] for fault in refused.handlers_faults]
    assert faults == ["handlers.toml:4: [handlers.one] instances"]


def test_a_secret_is_not_shown_with_its_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON_SECRET_KEY", "hunter2")
    monkeypatch.setenv("DAEMON_BROKER_URL", "kafka://u:hunter4@h")
    for url in ("mysql://u:hunter3@h/d", "postgres://u:hunter5@hunter6/hunter7#hunter8@h/d"):
        monkeypatch.setenv("DATABASE_URL", url)
        assert "hunter" not in str(refusal())


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in conf.Environment.model_fields.values():
        monkeypatch.setenv(str(field.alias), "")
    assert conf.read().port == 8080


def test_values_may_be_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON_TASK_SELECTION", "PRIORITY")
    assert conf.read().task_selection == "priority"


def test_a_retention_has_a_unit_or_is_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in (("30d", 2_592_000.0), ("90m", 5400.0), ("2w", 1_209_600.0), ("5s", 5.0), ("7200", 7200.0)):
        monkeypatch.setenv("DAEMON_RETENTION_FAILED", text)
        assert conf.read().retention_failed == seconds
    monkeypatch.setenv("DAEMON_RETENTION_AUDIT", "never")
    assert conf.read().retention_audit is None
    assert conf.read().retention_completed is None


def test_a_misspelt_variable_is_a_warning_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON_PROT", "1")
    monkeypatch.setenv("DAEMON_GRPC_PORT", "1")
    monkeypatch.setenv("DAEMON_BATCH_SIZE", "1")
    ignored, unknown = unknown_variables()
    assert ignored.startswith("DAEMON_BATCH_SIZE, DAEMON_GRPC_PORT: ")
    assert unknown == "DAEMON_PROT: no such variable; ignored (did you mean DAEMON_PORT?)"


def test_relative_paths_are_relative_to_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAEMON_HOME", "elsewhere")
    assert conf.read().home == PROJECT / "elsewhere"
    assert conf.read().database_file == PROJECT / "elsewhere" / "taskdaemon.sqlite3"


@pytest.mark.parametrize("name", ["rows.sqlite3", "rows%20of%23a.sqlite3?timeout=5"])
def test_a_relative_file_in_the_url_of_the_database_is_relative_to_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///var/{name}")
    file = PROJECT / "var" / unquote(name.partition("?")[0])
    found = conf.read()
    assert database_settings(found.database_url, found.database_file)["NAME"] == str(file)
    assert found.mount_rules.never(f"{file}-wal")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/{name}")
    assert database_settings(conf.read().database_url, file)["NAME"] == str(tmp_path / file.name)


def test_what_handlers_may_mount_is_never_the_database_or_the_secret_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAEMON_MOUNT_ROOTS", f"{tmp_path}/, /var")
    monkeypatch.setenv("DAEMON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAEMON_DB_PATH", str(tmp_path / "db" / "rows"))
    rules = conf.read().mount_rules
    assert rules.roots == (str(tmp_path), "/var")
    for path in ("home", "home/secret_key", "db", "db/rows", "db/rows-wal", ""):
        assert "never given" in (rules.refusal(str(tmp_path / path)) or ""), path
    assert rules.refusal(str(tmp_path / "models")) is None
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/other")
    assert conf.read().mount_rules.never(f"{tmp_path}/other-wal")


def test_the_default_memory_of_containers_whose_handler_sets_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "handlers.toml"
    file.write_text('[handlers.one]\nimage = "x"\n[handlers.two]\nimage = "x"\nmemory_limit = "32m"\n')
    monkeypatch.setenv("HANDLER_CONFIG", str(file))
    monkeypatch.setenv("DAEMON_DEFAULT_MEMORY", "64m")
    conf.environment.cache_clear()
    conf.forget_handlers()
    try:
        found = conf.handlers()
    finally:
        monkeypatch.undo()
        conf.environment.cache_clear()
        conf.forget_handlers()
    assert [handler.memory_limit for handler in found.values()] == [64 * 1024**2, 32 * 1024**2]


def test_a_secret_key_is_made_once_and_only_its_owner_can_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAEMON_HOME", str(tmp_path / "home"))
    first = signing_key(conf.read())
    assert len(first) >= 48
    assert signing_key(conf.read()) == first
    assert stat.S_IMODE((tmp_path / "home" / "secret_key").stat().st_mode) == 0o600


def test_web_servers_with_one_database_need_a_shared_key_and_workers_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAEMON_SECRET_KEY", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert no_shared_key(conf.read()) is None
    monkeypatch.setenv("DATABASE_URL", "postgres://u@127.0.0.1/x")
    fault = no_shared_key(conf.read())
    assert fault is not None and fault.startswith("DAEMON_SECRET_KEY: required")
    monkeypatch.setenv("DAEMON_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz")
    assert no_shared_key(conf.read()) is None


def errors_of(refused: Process) -> str:
    """What a process that does not start says."""
    assert refused.ends() == 2
    errors = refused.err.read_text()
    assert "Traceback" not in errors
    return errors


def test_a_bad_handlers_file_stops_the_start_with_every_fault_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "handlers.toml"
    lines = ["[handlers.one]", 'comand = ["x"]', "[handlers.two]", 'command = ["x"]', "timeout = -1"]
    file.write_text("\n".join([*lines, *["# a comment"] * 6, 'instances = "4"', ""]))
    faults = [
        'handlers.toml:2: [handlers.one] comand: is unknown; did you mean "command"?',
        "handlers.toml:5: [handlers.two] timeout",
        "handlers.toml:12: [handlers.two] instances",
    ]
    for variables in ({}, {"DAEMON_PORT": "many"}):
        errors = errors_of(shipped(tmp_path, HANDLER_CONFIG=str(file), **variables).manage("web"))
        for name in variables:
            assert f"{name}: " in errors
        positions = [errors.find(fault) for fault in faults]
        assert -1 not in positions and positions == sorted(positions), "by line number, not as text"


@pytest.mark.parametrize("host", ["fd00::1", "::1", "192.0.2.1", "tasks.internal"])
def test_a_request_may_name_the_address_that_the_server_listens_on(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DAEMON_HOST", host)
    domain, _ = split_domain_port(f"[{host}]:8080" if ":" in host else f"{host}:8080")
    assert validate_host(domain, conf.read().hosts)


def test_an_address_to_listen_on_may_have_the_brackets_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON_HOST", "[fd00::1]")
    assert conf.read().host == "fd00::1"


def test_names_and_origins_of_every_form_that_a_browser_sends_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["Tasks.example.org", ".example.com", "10.0.0.1", "[fd00::1]"]
    origins = ["https://tasks.example.org", "http://localhost:3000", "https://[fd00::1]:8443", "http://a_b:8080"]
    monkeypatch.setenv("DAEMON_ALLOWED_HOSTS", ", ".join(hosts))
    monkeypatch.setenv("DAEMON_ALLOWED_ORIGINS", ",".join(origins))
    found = conf.read()
    assert found.hosts[-len(hosts) :] == hosts
    assert found.origins == origins


@pytest.mark.parametrize(
    "url",
    ["redis://:p%40ss@broker:6379/0", "redis://broker", "redis://broker/", "rediss://u:p@[fd00::1]:6380//3",
     "amqp://u:p%2Fw@broker:5672//", "amqps://broker/tasks"],
)  # fmt: skip
def test_the_address_of_each_kind_of_broker_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DAEMON_BROKER_URL", url)
    assert conf.read().broker_url == url
