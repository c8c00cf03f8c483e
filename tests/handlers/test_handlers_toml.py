from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_app.handlers.handlers_toml import MAX_FILE_BYTES, Defaults, Handler, HandlersError, load
from tasks_app.handlers.mounts import Mount, MountRules
from tests.handlers.kit import faults, read


@pytest.mark.parametrize(
    "image",
    [
        "resize", "resize:1.2", "org/resize", "localhost/resize", "Registry.example:5000/o/re_size__x-y:A.b-1",
        "[::1]:5000/a", "resize@sha256:" + "a1" * 32, "a.b/c:d@sha256:" + "0" * 64, "f" * 64, "sha256:" + "e" * 64,
    ],
)  # fmt: skip
def test_every_form_of_an_images_name_is_taken(file: Path, image: str) -> None:
    assert read(file, f'[handlers.x]\nimage = "{image}"\n')["x"].image == image


def test_a_handler_gets_the_defaults(file: Path) -> None:
    handlers = read(file, '[handlers.echo]\ncommand = ["python", "echo.py"]\n', Defaults(5.0, 1, 0.0, "open", 1 << 30))
    assert dict(handlers) == {
        "echo": Handler(
            name="echo", command=("python", "echo.py"), cwd=file.parent.resolve(), instances=2, timeout=5.0,
            max_retries=1, retry_backoff=0.0, profile="open", memory_limit=1 << 30,
        )
    }  # fmt: skip
    assert handlers.path == file


def test_a_retention_is_the_environments_unless_the_handler_has_its_own(file: Path) -> None:
    text = """
    [handlers.echo]
    command = ["x"]
    [handlers.kept]
    command = ["x"]
    retention_completed = "never"
    retention_failed = "3d"
    """
    one = read(file, text, Defaults(retention_completed=60.0, retention_failed=None))
    assert [(each.retention_completed, each.retention_failed) for each in one.values()] == [
        (60.0, None), (None, 259_200.0)
    ]  # fmt: skip
    assert one.digest == read(file, text.replace("3d", "4d")).digest, "it changes nothing in what is run"
    for wrong in ('"30 d"', "0", "true", '"-3d"', "inf", '""', '"forever"', "[1]"):
        (fault,) = faults(file, f'[handlers.echo]\ncommand = ["x"]\nretention_failed = {wrong}\n')
        assert "handlers.toml:3: [handlers.echo] retention_failed: " in fault, fault
        assert 'such as "30d"' in fault, fault


TWO = """
[handlers.echo]
command = ["python", "echo.py"]
env = { A = "1", B = "2" }
[handlers.prime]
image = "prime:1"
retry_on = ["timeout", "crash"]
"""
THE_SAME = """
# In another order, with other text and another number of instances.
[handlers.prime]
retry_on = ["crash", "timeout"]
image = "prime:1"
instances = 8
timeout = 30
[handlers.echo]
env = { B = "2", A = "1" }
command = ["python", "echo.py"]
"""


def test_the_digest_covers_what_is_run_and_not_the_text(file: Path, tmp_path: Path) -> None:
    one = read(file, TWO).digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert read(elsewhere / "handlers.toml", THE_SAME).digest == one
    assert read(file, TWO, Defaults(timeout=31.0)).digest != one, "defaults from the environment count"
    for change in (
        ("prime:1", "prime:2"),
        ('A = "1"', 'A = "0"'),
        (', "crash"', ""),
        ("handlers.echo", "handlers.ech"),
    ):
        assert read(file, TWO.replace(*change)).digest != one, change


def test_every_key_is_read_into_its_type(file: Path) -> None:
    handler = read(
        file,
        """
        [handlers.re-size_2]
        image = "registry/resize:1"
        command = ["run", ""]
        instances = 4
        timeout = 60
        timeout_limit = 90
        handler_selection = "first-available"
        memory_limit = "512m"
        env = { LEVEL = "debug", "odd name" = "" }
        env_from = ["API_KEY"]
        max_retries = 0
        retries_limit = 5
        retry_backoff = 0.5
        retry_on = ["timeout", "crash"]
        start_timeout = 90
        stop_grace = 0
        retention_completed = "12h"
        retention_failed = 60
        max_tasks_per_container = 1000
        max_container_age = 3600
        profile = "open"
        cpus = 1.5
        pids_limit = 64
        network = "bridge"
        read_only = false
        tmpfs = { "/tmp" = "64m" }
        tmpfs_exec = true
        shm_size = "16m"
        user = "image"
        cap_add = ["CAP_CHOWN", "setuid"]
        runtime = "runsc"
        mounts = ["/srv/models/:/models"]
    """,
        Defaults(mount_rules=MountRules(("/srv",))),
    )["re-size_2"]
    assert handler == Handler(
        name="re-size_2", image="registry/resize:1", command=("run", ""), cwd=file.parent.resolve(), instances=4,
        timeout=60.0, timeout_limit=90.0, retries_limit=5, handler_selection="first-available",
        memory_limit=512 * 1024**2,
        env={"LEVEL": "debug", "odd name": ""}, env_from=("API_KEY",), max_retries=0, retry_backoff=0.5,
        retry_on=frozenset({"timeout", "crash"}), start_timeout=90.0, stop_grace=0.0,
        retention_completed=43_200.0, retention_failed=60.0, max_tasks_per_container=1000,
        max_container_age=3600.0, profile="open", cpus=1.5, pids_limit=64, network="bridge", read_only=False,
        tmpfs={"/tmp": 64 * 1024**2}, tmpfs_exec=True, shm_size=16 * 1024**2, user="image",
        cap_add=("CHOWN", "SETUID"), runtime="runsc", mounts=(Mount("/srv/models", "/models"),),
        mount_rules=MountRules(("/srv",)),
    )  # fmt: skip


@pytest.mark.parametrize(("value", "says"), [
    ("5", 'description: 5 is not a string; write "..."'),
    ('" "', "description: an empty string is not allowed; leave the key out"),
    ('"a\\u0000"', "description: has a NUL"),
    (f'"{"a" * 1001}"', "description: has 1,001 characters; write at most 1,000"),
])  # fmt: skip
def test_a_wrong_description_is_a_fault(file: Path, value: str, says: str) -> None:
    assert [fault.partition("] ")[2] for fault in faults(file, f"{TWO}description = {value}\n")] == [says]


def test_a_description_is_kept_and_changes_nothing_that_is_run(file: Path) -> None:
    plain, described = read(file, TWO), read(file, f'{TWO}description = "Counts primes."\n')
    assert [each.description for each in described.values()] == [None, "Counts primes."]
    assert described.digest == plain.digest


@pytest.mark.parametrize(("keys", "found"), [
    ("timeout = 10\ntimeout_limit = 5", "timeout_limit: 5 is below timeout = 10; write at least that, or leave it out"),
    ("timeout_limit = 5", "timeout_limit: 5 is below DAEMON_TASK_TIMEOUT, which is 30; write at least that, or leave it out"),  # noqa: E501
    ("max_retries = 5\nretries_limit = 4", "retries_limit: 4 is below max_retries = 5; write at least that, or leave it out"),  # noqa: E501
    ("retries_limit = 2", "retries_limit: 2 is below DAEMON_MAX_RETRIES, which is 3; write at least that, or leave it out"),  # noqa: E501
    ("timeout_limit = 0", "timeout_limit: 0 is out of range; it is in seconds, more than 0 and at most 604800"),
    ("retries_limit = 1001", "retries_limit: 1001 is out of range; it must be from 0 to 1000"),
    ('timeout = "10"\ntimeout_limit = 5', "timeout: '10' is not a number; write it without quotes and units"),
])  # fmt: skip
def test_a_limit_below_the_handlers_own_value_is_a_fault(file: Path, keys: str, found: str) -> None:
    assert [fault.partition("] ")[2] for fault in faults(file, f"{TWO}{keys}\n")] == [found]


def test_a_limit_is_the_handlers_own_value_unless_it_is_given_and_changes_nothing_that_is_run(file: Path) -> None:
    plain, limited = read(file, TWO), read(file, f"{TWO}timeout_limit = 60\nretries_limit = 3\n")
    assert [(each.longest_timeout, each.most_retries) for each in plain.values()] == [(30.0, 3)] * 2
    assert (limited["prime"].longest_timeout, limited["prime"].most_retries) == (60.0, 3)
    assert limited.digest == plain.digest


@pytest.mark.parametrize(("key", "says"), [
    ("stop_grace = -1", "-1 is out of range; it is in seconds, at least 0 and at most 604800"),
    ('stop_grace = "2s"', "'2s' is not a number; write it without quotes and units"),
    ('environment = { A = "1" }', 'is unknown; did you mean "env"?'),
    ("max-age = 60", 'is unknown; did you mean "max_container_age"?'),
    ("stop_grce = 2", 'is unknown; did you mean "stop_grace"?'),
    ('network = "host"', """'host' is refused; did you mean "bridge"?"""),
    ('env_from = ["DATABASE_URL"]', "DATABASE_URL is a secret of the daemon and never given to a handler"),
    ("max_retries = true", "true is not an integer; write one from 0 to 1000, without quotes"),
    ('handler_selection = "round_robin"', """'round_robin' is unknown; did you mean "round-robin"?"""),
    ("instances = 0", "0 is out of range; it must be from 1 to 1000"),
    ("gpus = 1", "gpus: is not supported yet: a container gets no GPU; leave it out, and let the handler call a "
     "service that has one"),
    ("instances = 1.5", "instances: 1.5 is not a whole number; write one from 1 to 1000, such as 2"),
    ("instances = 0.2", "instances: 0.2 is not a whole number; write one from 1 to 1000, such as 1"),
    ("instances = nan", "instances: nan is not an integer; write one from 1 to 1000, without quotes"),
    ('memory_limit = "128bb"', """'128bb' is not a size; write a string like "512m" or "1g\""""),
    ("cpus = 0", "0 is out of range; it is the number of processors, at least 0.01"),
    ('memory_limit = "12m"', """'12m' is out of range; write "16m" or more"""),
    ('cap_add = ["CHOWN"]', "gives nothing to a sealed handler, which runs as user 65534: capabilities are for root; "
     'add user = "root", or leave it out'),
    ('profile = "open"\nuser = "1000:1000"\ncap_add = ["CHOWN"]', "gives nothing to user 1000:1000: capabilities are "
     'for root; add user = "root", or leave it out'),
])  # fmt: skip
def test_a_key_that_would_have_no_effect_is_refused(file: Path, key: str, says: str) -> None:
    (found,) = faults(file, f'[handlers.one]\nimage = "x"\n{key}\n')
    assert found.endswith(says)


@pytest.mark.parametrize(("size", "number"), [
    ("128m", 128 << 20), ("128mb", 128 << 20), ("128MB", 128 << 20), ("128 m", 128 << 20), ("1gb", 1 << 30),
    ("32768k", 32 << 20), ("33554432b", 32 << 20),
])  # fmt: skip
def test_a_size_has_a_unit_of_one_or_two_letters(file: Path, size: str, number: int) -> None:
    assert read(file, f'[handlers.one]\nimage = "x"\nmemory_limit = "{size}"\n')["one"].memory_limit == number


@pytest.mark.parametrize(("text", "says"), [
    ('[handlers.mail.send]\ncommand = ["cat"]\n', [
        "handlers.toml:1: [handlers.mail.send]: a name has no dots, which make a table within [handlers.mail]; "
        "did you mean [handlers.mail-send]?",
    ]),
    ('[handlers.mail]\ncommand = ["cat"]\n[handlers.mail.send.now]\nimage = "x"\n', [
        "handlers.toml:3: [handlers.mail.send.now]: a name has no dots, which make a table within [handlers.mail]; "
        "did you mean [handlers.mail-send-now]?",
    ]),
    ('[handlers.mail.environment]\nA = "1"\n', [
        'handlers.toml:1: [handlers.mail] environment: is unknown; did you mean "env"?',
        "handlers.toml:1: [handlers.mail]: has neither `image` nor `command`; one of them is needed",
    ]),
])  # fmt: skip
def test_a_name_with_dots_is_said_to_have_them(file: Path, text: str, says: list[str]) -> None:
    assert faults(file, text) == says


@pytest.mark.parametrize(("line", "quote"), [
    ("command = [\u201cpython\u201d]", "\u201c"), ("\u2018command\u2019 = ['cat']", "\u2018"),
    ('command = ["cat\u201d]', "\u201d"), ("[handlers.\u00abtwo\u00bb]", "\u00ab"),
])  # fmt: skip
def test_quotes_of_a_text_processor_are_named_where_they_stand(file: Path, line: str, quote: str) -> None:
    (found,) = faults(file, f"[handlers.one]\n{line}\n")
    assert found.startswith("handlers.toml:2: is not TOML: ")
    assert found.endswith(f"; the line has typographic quotes ({quote}): write straight ones, \" or '")


def test_typographic_quotes_in_a_text_are_no_fault(file: Path) -> None:
    text = "\u201cquickly\u201d"
    file.write_text(f'{TWO}description = "{text}"\n', encoding="utf-8")
    assert load(file, Defaults())["prime"].description == text
    assert "typographic" not in faults(file, f'{TWO}description = "{text}"\ncommand = [\n')[0]


@pytest.mark.parametrize("keys", ['user = "0:0"', 'user = "root"', 'user = "image"', 'profile = "open"'])
def test_root_may_be_given_capabilities(file: Path, keys: str) -> None:
    file.write_text(f'[handlers.one]\nimage = "x"\ncap_add = ["CHOWN"]\n{keys}\n')
    assert load(file, Defaults())["one"].cap_add == ("CHOWN",)


def test_every_fault_in_the_items_of_a_key_is_reported(file: Path) -> None:
    assert faults(
        file,
        """\
[handlers.x]
image = "y"
retry_on = ["timeouts", "crash", "errors"]
env = { A = 1, B = "b", "C=D" = "" }
tmpfs = { tmp = "1m", "/b" = "1" }
""",
    ) == [
        "handlers.toml:3: [handlers.x] retry_on: 'timeouts' is unknown; did you mean \"timeout\"?",
        "handlers.toml:3: [handlers.x] retry_on: 'errors' is unknown; did you mean \"error\"?",
        'handlers.toml:4: [handlers.x] env: A = 1 is not a string; did you mean A = "1"?',
        "handlers.toml:4: [handlers.x] env: 'C=D' cannot be the name of a variable",
        "handlers.toml:5: [handlers.x] tmpfs: 'tmp' is not an absolute path without ..",
        'handlers.toml:5: [handlers.x] tmpfs: \'1\' is not a size; write a string like "512m" or "1g"',
    ]


@pytest.mark.parametrize(("text", "found"), [
    ("", "handlers.toml:1: [handlers]: has no handler; write [handlers.NAME]"),
    ("handlers = 5", "handlers.toml:1: [handlers]: is not a table; write [handlers.NAME]"),
    ("[handlers]\necho = 5", "handlers.toml:2: [handlers.echo]: 5 is not a table; write [handlers.echo] above its keys"),  # noqa: E501
    ("[echo]\nimage = 'x'", "handlers.toml:1: [echo]: is unknown; did you mean [handlers.echo]?"),
    ("[handlers.x]\nimage = ''", "handlers.toml:2: [handlers.x] image: an empty string is not allowed; leave the key out"),  # noqa: E501
    ("[handlers.x]\nimage = 'y'\ntimeout = inf", "handlers.toml:3: [handlers.x] timeout: inf is not a number; write it without quotes and units"),  # noqa: E501
    ("[handlers.x]\nimage = 'y'\ntimeout = 0", "handlers.toml:3: [handlers.x] timeout: 0 is out of range; it is in seconds, more than 0 and at most 604800"),  # noqa: E501
    ("[handlers.x]\nimage = 'My Image'", "handlers.toml:2: [handlers.x] image: 'My Image' is no image; write a name in lower case such as registry.example/resize:1.2"),  # noqa: E501
    ("[handlers.x]\nimage = 'y'\ndescription = '''\ntimeout = 0\n'''\ntimeout = 0", "handlers.toml:6: [handlers.x] timeout: 0 is out of range; it is in seconds, more than 0 and at most 604800"),  # noqa: E501
    ("handlers.x.image = 5", "handlers.toml:1: [handlers.x] image: 5 is not a string; write \"...\""),
    ("[handlers.x]\nimage = 'y'\n[handlers.x.env]\nA = 1", "handlers.toml:3: [handlers.x] env: A = 1 is not a string; did you mean A = \"1\"?"),  # noqa: E501
])  # fmt: skip
def test_a_fault_says_what_was_probably_meant(file: Path, text: str, found: str) -> None:
    assert faults(file, text) == [found]


def test_invalid_toml_is_reported_with_its_line(file: Path) -> None:
    (found,) = faults(file, "[handlers.x]\nimage = \n")
    assert found.startswith("handlers.toml:2: is not TOML: ")
    file.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(HandlersError, match=r"handlers.toml:2: is not UTF-8"):
        load(file, Defaults())


@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, "9" * 5000])
def test_what_the_reader_of_toml_gives_up_at_is_a_fault(file: Path, value: str) -> None:
    (found,) = faults(file, f"[handlers.x]\nimage = {value}\n")
    assert found.startswith("handlers.toml: cannot be read as TOML: ")


def test_what_is_no_file_or_too_large_is_not_read(file: Path) -> None:
    (found,) = faults(file, "#" * (MAX_FILE_BYTES + 1))
    assert "handlers.toml is larger than 1 MiB (1,048,576 bytes), so it is not read; make it shorter" in found
    with file.open("wb") as sparse:
        sparse.truncate(10 * 2**30)
    with pytest.raises(HandlersError, match="is larger than 1 MiB"):
        load(file, Defaults())
    file.unlink()
    os.mkfifo(file)  # nobody writes into it
    with pytest.raises(HandlersError, match=r"handlers\.toml is not a file; set HANDLER_CONFIG to"):
        load(file, Defaults())


def test_a_byte_order_mark_before_the_text_is_no_fault(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf[handlers.x]\r\nimage = "y"\r\n')
    assert load(file, Defaults())["x"].image == "y"


def test_a_missing_file_is_reported(file: Path) -> None:
    with pytest.raises(
        HandlersError, match=r"1 fault in .*handlers.toml:\n  /.*/handlers.toml cannot be read: No such .*; set"
    ):
        load(file, Defaults())
