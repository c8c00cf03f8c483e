"""Mistakes of newcomers and operators, at set-up and at the first calls: what is done, and what is said of it.

A start of a process shows as many of them as it can.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest

from testkit.daemon import Daemon, shipped
from testkit.needs import need_root
from testkit.ports import free_port
from testkit.servers.postgresql import Postgres
from tests.faults.small_disk import SmallDisk
from tests.mistakes.table import Said, lacks

pytestmark = [
    pytest.mark.long("starts of processes", seconds=60),
    pytest.mark.one_leg("set-ups of its own"),
    pytest.mark.xdist_group("mistakes of operators"),
]

KEY = secrets.token_urlsafe(48)


class World:
    """What is there when a mistake is made: a daemon that runs, servers, and a folder for each start."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder, self.daemon, self.said = folder, daemon, dict[int, str]()
        self.ends: list[Callable[[], object]] = []

    def new_folder(self) -> Path:
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return folder

    @cached_property
    def server(self) -> str:
        """The address of a PostgreSQL, without tables."""
        home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        home.chmod(0o755)  # for the user postgres
        server = Postgres(home / "server")
        self.ends += [server.close, partial(shutil.rmtree, home)]
        return f"127.0.0.1:{server.port}"

    @cached_property
    def full(self) -> str:
        """A folder on a full disk, in which a daemon has been before."""
        need_root("to mount a small disk")
        disk = SmallDisk(self.new_folder() / "disk", 16)
        self.ends.append(disk.close)
        assert shipped(disk.path).manage("prepare", "--verbosity", "0").ends() == 0
        disk.fill()
        return str(disk.path)

    def filled(self, text: str) -> str:
        """A text with what it names in braces."""
        for name in ("server", "full"):
            if f"{{{name}}}" in text:
                text = text.replace(f"{{{name}}}", str(getattr(self, name)))
        known = {"port": self.daemon.port, "running": self.daemon.home, "other": free_port()}
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text


@dataclass(frozen=True, eq=False)
class Start:
    """A command of manage.py in a home of its own.

    `variables` may have {home}; {port} and {running}, the home, of the daemon that runs; {other}, a free port;
    {server}, a PostgreSQL; {full}, a home on a full disk. `handlers`: its handlers.toml. `until`: it goes on;
    this is waited for; otherwise it ends with `code`.
    """

    command: str
    variables: dict[str, str] = field(default_factory=dict)
    handlers: bytes | None = None
    until: str = ""
    code: int = 2

    def said(self, world: World) -> str:
        home = world.new_folder()
        (home / "file").write_text("a diary, " * 20)
        variables = {name: world.filled(text.replace("{home}", str(home))) for name, text in self.variables.items()}
        if self.handlers is not None:
            (home / "handlers.toml").write_bytes(self.handlers)
            variables = {"HANDLER_CONFIG": str(home / "handlers.toml"), **variables}
        process = shipped(home, **variables).manage(*self.command.split(" ", 3))
        if self.until:
            process.until_says(self.until)
            process.stop()
        else:
            assert process.ends() == self.code, process.said()
        return process.said()


@dataclass(frozen=True, eq=False)
class Call:
    """A call of the daemon that runs."""

    method: str
    path: str
    body: str = ""

    def said(self, world: World) -> str:
        answer = world.daemon.http.request(self.method, self.path, content=self.body)
        return f"{answer.status_code} {answer.json()['error']}"


class NewWeb:
    """A web server on an empty database: its log, its health, and what it answers."""

    def said(self, world: World) -> str:
        daemon = shipped(world.new_folder())
        process = daemon.web()
        health, post = daemon.http.get("/health").text, daemon.http.post("/queue", json={"type": "prime"})
        process.stop()
        return f"{process.said()}{health}\nPOST: {post.status_code} {post.json()['error']}"


VARIABLES = Start(
    "up",
    {
        "DAEMON_PORT": "80800", "DAEMON_TASK_TIMEOUT": "30s", "DAEMON_TASK_SELECTION": "fifoo",
        "DAEMON_HOST": "http://localhost", "DAEMON_API_KEY": "abc",
        "DAEMON_BROKER_URL": "localhost:6379", "DATABASE_URL": "mysql://u:p@127.0.0.1/tasks",
    },
)  # fmt: skip
TABLES = Start(
    "up",
    handlers=b"""[handlers.one]
command = ["cat"]
instance = 2
timeout = "30"

[handlers.two]
command = "python hello.py"

[handlers.three]
command = ["cat"]
memory_limit = "64m"

[handlers.four]
timeout = 5

[handlers."my handler"]
command = ["cat"]

[handler.six]
command = ["cat"]

[handlers.five]
image = "x"
gpus = 1
instances = 1.5

[handlers.mail.send]
command = ["cat"]
""",
)
IMAGE = b"""[handlers.boxed]
image = "localhost/nothing-of-the-kind"
"""
BAD = "The environment cannot be used"
OTHER = {"DAEMON_PORT": "{other}"}
NEW_WEB = NewWeb()


def mistake(name: str, done: Any, what: str, where: str, why: str, then: str) -> Any:
    return pytest.param(done, Said(what, where, why, then), id=name)


def on(url: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DAEMON_SECRET_KEY": KEY}


#: name, what is done; what is said: what, where, why, what to do.
MISTAKES = (
    mistake("no such port", VARIABLES,
            BAD, "DAEMON_PORT", "(it is '80800')", "a whole number from 1 to 65535"),
    mistake("a duration with its unit", VARIABLES,
            BAD, "DAEMON_TASK_TIMEOUT", "(it is '30s')", "a number over 0, to 604800"),
    mistake("a misspelt word", VARIABLES,
            BAD, "DAEMON_TASK_SELECTION", "(it is 'fifoo')", "must be fifo, lifo or priority"),
    mistake("an address for a host", VARIABLES,
            BAD, "DAEMON_HOST", "'http://localhost' is not an address", "such as 0.0.0.0, ::1 or localhost"),
    mistake("a key that is none", VARIABLES,
            BAD, "DAEMON_API_KEY", "a key begins with tpk_", "bin/env makes one"),
    mistake("a broker without its kind", VARIABLES,
            BAD, "DAEMON_BROKER_URL", "must begin with redis://", "unset: no broker"),
    mistake("a database that is not supported", VARIABLES,
            BAD, "DATABASE_URL", "must begin with postgres://", "unset: SQLite in DAEMON_HOME"),
    mistake("a database without its name", Start("up", {"DATABASE_URL": "postgres://u:p@127.0.0.1:5432"}),
            BAD, "DATABASE_URL", "names no database", "postgres://USER:PASSWORD@HOST:5432/NAME"),
    mistake("a password that is not encoded", Start("up", {"DATABASE_URL": "postgres://u:p@ss/w#rd@127.0.0.1/tasks"}),
            BAD, "DATABASE_URL", "its user or password has a /, ? or #", "percent-encoded, as p%40ss for p@ss"),
    mistake("a part of an address", Start("up", {"DAEMON_CALLBACK_HOSTS": ".0.0.1"}),
            BAD, "DAEMON_CALLBACK_HOSTS", "looks like a part of an address", "write each address whole"),
    mistake("a common password", Start("prepare", {"DAEMON_ADMIN_PASSWORD": "password", "DAEMON_HOST": "0.0.0.0"}),
            "ERRORS", "DAEMON_ADMIN_PASSWORD", "This password is too common", "Set another one"),
    mistake("a common password on loopback", Start("check", {"DAEMON_ADMIN_PASSWORD": "12345678"}, code=0),
            "WARNINGS", "DAEMON_ADMIN_PASSWORD", "entirely numeric", "Set another one"),
    mistake("a large handlers.toml", Start("up", handlers=b"#" * (2**20 + 1)),
            "is larger than 1 MiB", "handlers.toml", "so it is not read", "make it shorter"),
    mistake("a misspelt variable", Start("check", {"DAEMON_PROT": "8081"}, code=0),
            "no such variable", "DAEMON_PROT", "ignored", "did you mean DAEMON_PORT?"),
    mistake("a misspelt key", TABLES,
            "is unknown", "handlers.toml:3:", "[handlers.one] instance", 'did you mean "instances"?'),
    mistake("a number as text", TABLES,
            "is not a number", "handlers.toml:4: [handlers.one] timeout", "'30'", "write it without quotes and units"),
    mistake("a command as text", TABLES,
            "is not a list of strings", "handlers.toml:7: [handlers.two] command", "'python hello.py'",
            'did you mean ["python", "hello.py"]?'),
    mistake("a limit of containers without an image", TABLES,
            "applies only to containers", "handlers.toml:11: [handlers.three] memory_limit", "there is no `image`",
            "leave it out or add one"),
    mistake("a handler without a program", TABLES,
            "has neither `image` nor `command`", "handlers.toml:13:", "[handlers.four]", "one of them is needed"),
    mistake("a name with a blank", TABLES,
            "a name has only letters, digits", "handlers.toml:16:", "[handlers.my handler]",
            "did you mean [handlers.my-handler]?"),
    mistake("a misspelt table", TABLES,
            "is unknown", "handlers.toml:19:", "[handler]", "did you mean [handlers.NAME]?"),
    mistake("a key that is not supported yet", TABLES,
            "is not supported yet", "handlers.toml:24: [handlers.five] gpus", "a container gets no GPU",
            "leave it out"),
    mistake("half an instance", TABLES,
            "is not a whole number", "handlers.toml:25: [handlers.five] instances", "1.5",
            "write one from 1 to 1000, such as 2"),
    mistake("a name with a dot", TABLES,
            "a name has no dots", "handlers.toml:27: [handlers.mail.send]", "make a table within [handlers.mail]",
            "did you mean [handlers.mail-send]?"),
    mistake("quotes of a text processor",
            Start("up", handlers="[handlers.one]\ncommand = [\u201ccat\u201d]\n".encode()),
            "is not TOML", "handlers.toml:2:", "typographic quotes (\u201c)", "write straight ones"),
    mistake("a bracket that is not closed", Start("up", handlers=b'[handlers.one]\ncommand = ["cat"\ntimeout = 5\n'),
            "is not TOML", "handlers.toml:3:", "Unclosed array", "at line 3, column 1"),
    mistake("no such handlers.toml", Start("up", {"HANDLER_CONFIG": "{home}/gone.toml"}),
            "cannot be read", "gone.toml", "No such file or directory", "set HANDLER_CONFIG to a file"),
    mistake("a home that is no folder", Start("up", {"DAEMON_HOME": "{home}/file/var"}),
            "cannot write to", "DAEMON_HOME", "Not a directory", "set it to a folder that this user can write to"),
    mistake("a database in no folder", Start("prepare", {"DAEMON_DB_PATH": "{home}/gone/tasks.sqlite3"}),
            "the database cannot be opened", "/gone", "there is no folder", "create it, or set DAEMON_DB_PATH"),
    mistake("a database that is none", Start("prepare", {"DAEMON_DB_PATH": "{home}/file"}),
            "is not a database of SQLite", "/file", "file is not a database", "set DAEMON_DB_PATH"),
    mistake("a worker without tables", Start("worker"),
            "does not have all its tables", "taskdaemon_deployment", "no such table", "run manage.py prepare"),
    mistake("a web server without tables", NEW_WEB,
            "does not have all its tables", '"level": "warning"', "no such table", "run manage.py prepare"),
    mistake("its callers", NEW_WEB,
            "POST: 503 the database does not have all its tables", '"event": "the database cannot be used"',
            "no such table", "run manage.py prepare"),
    mistake("its health", NEW_WEB,
            '"status":"unhealthy"', '"problems":["the database', "no such table", "run manage.py prepare"),
    mistake("a full disk", Start("apikey create ci", {"DAEMON_HOME": "{full}"}),
            "is full", "the disk of /", "disk I/O error", "make room on it"),
    mistake("no server", Start("prepare", on("postgres://u@127.0.0.1:1/tasks")),
            "the database cannot be reached", "127.0.0.1", "Connection refused", "start the server 127.0.0.1:1"),
    mistake("no such host", Start("prepare", on("postgres://u@nowhere.invalid/tasks")),
            "the database cannot be reached", "'nowhere.invalid'", "failed to resolve host",
            "correct the host in DATABASE_URL"),
    mistake("no such database", Start("prepare", on("postgres://postgres@{server}/tasks")),
            'there is no database "tasks"', "on 127.0.0.1:", "no database", "-U postgres -O postgres tasks)"),
    mistake("no such user", Start("prepare", on("postgres://ada@{server}/postgres")),
            'there is no user "ada"', "on 127.0.0.1:", "no user", "-U postgres --pwprompt ada)"),
    mistake("web servers without a common secret", Start("web", {"DATABASE_URL": "postgres://u@127.0.0.1:1/tasks"}),
            "ERRORS", "DAEMON_SECRET_KEY", "required with DATABASE_URL", "secrets.token_urlsafe"),
    mistake("a port that is in use", Start("up", {"DAEMON_PORT": "{port}"}),
            "cannot listen", "on 127.0.0.1:", "Address already in use", "or set DAEMON_PORT to another port"),
    mistake("a second daemon in a home", Start("up", {"DAEMON_HOME": "{running}", "DAEMON_PORT": "{other}"}),
            "another `up` runs", "on /", "another", "stop it first, or set DAEMON_HOME to another folder"),
    mistake("an address of another machine", Start("up", {"DAEMON_HOST": "192.0.2.1"}),
            "cannot listen", "on 192.0.2.1", "this machine has no such address", "set DAEMON_HOST to one of its own"),
    mistake("an address that has no host", Start("up", {"DAEMON_HOST": "no-such-host.invalid"}),
            "cannot listen", "on no-such-host.invalid", "Name or service not known", "set DAEMON_HOST"),
    mistake("a misspelt command", Start("statsu", code=1),
            "Unknown command", "'statsu'", "manage.py help", "Did you mean status?"),
    mistake("a worker for no handler", Start("worker --handler prim"),
            "--handler prim", "not in handlers.toml", "which has", "prime"),
    mistake("a misspelt type", Call("POST", "/queue", '{"type": "atc"}'),
            "400", 'no handler is named "atc"', "handlers.toml has act", 'did you mean "act"?'),
    mistake("JSON with single quotes", Call("POST", "/queue", "{'type': 'act'}"),
            "400", "malformed JSON", "at line 1 column 2", "enclosed in double quotes"),
    mistake("a misspelt field", Call("POST", "/queue", '{"type": "act", "dat": {}}'),
            "400", 'unknown field "dat"', "the fields are type, data", 'did you mean "data"?'),
    mistake("another address", Call("POST", "/tasks", '{"type": "act"}'),
            "404", "/tasks", "no such page", "tasks are posted to /queue"),
    mistake("no Docker", Start("up", OTHER | {"DOCKER_HOST": "unix:///gone/docker.sock"}, IMAGE, "waiting   tasks"),
            "handler 'boxed' cannot be started", "/gone/docker.sock", "the Docker engine cannot be reached",
            "start it, or set DOCKER_HOST"),
    pytest.param(Start("up", OTHER, IMAGE, "waiting   tasks"),
            Said("cannot be started", "localhost/nothing-of-the-kind", "is missing", "build it (docker build -t"),
            id="no such image", marks=pytest.mark.docker),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(module_deployment: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    daemon = module_deployment(DAEMON_API_KEY="")
    daemon.handler("act")
    daemon.up()
    made = World(tmp_path_factory.mktemp("mistakes"), daemon)
    yield made
    for end in made.ends:
        end()


@pytest.mark.parametrize(("done", "says"), MISTAKES)
def test_a_mistake_at_set_up_is_told(world: World, done: Any, says: Said) -> None:
    if id(done) not in world.said:
        world.said[id(done)] = done.said(world)
    said = world.said[id(done)]
    assert lacks(said, says) == {}, said
    assert "Traceback" not in said
