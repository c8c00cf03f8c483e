"""Reads and checks handlers.toml: the task types and how each is run, and the files that commands name."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from io import BufferedReader
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

import tomli

from tasks_app.handlers import keys
from tasks_app.handlers.keys import OTHER_NAMES, FurtherKey, shared_target, shown, unknown, unusable_capabilities
from tasks_app.handlers.mistakes import handler_inside, of_quotes
from tasks_app.handlers.mounts import NO_MOUNTS, Mount, MountRules
from tasks_app.handlers.words import ALIKE, VERY_ALIKE, nearest, retention

MAX_NAME_CHARS = 100
NAME_PATTERN = rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}"
#: Larger files are refused: to read 10 MB of handlers would take a process most of a minute.
MAX_FILE_BYTES = 2**20
#: Two writes within one tick of the file system's clock look alike: a file that changed so recently is read again.
RECENT_SECONDS = 2.0
is_name = re.compile(NAME_PATTERN).fullmatch
#: Fields of a handler that change nothing in what it runs, or differ between machines.
_NOT_RUN = frozenset(
    {
        "name", "description", "cwd", "sources", "instances", "mount_rules", "timeout_limit", "retries_limit",
        "retention_completed", "retention_failed", "further",
    }
)  # fmt: skip
#: Fields that say nothing about the file and what it names.
_NOT_OF_REVISION = frozenset({"name", "cwd", "mount_rules"})
#: Keys with the limit for the values of callers, and the handler's own value, which is always allowed.
_LIMITS = (("timeout_limit", "timeout", "DAEMON_TASK_TIMEOUT"), ("retries_limit", "max_retries", "DAEMON_MAX_RETRIES"))
#: Faults name a table, an entry of it and its key. A megabyte of deeper positions would take gigabytes.
NAMED_LEVELS = 3
#: A table's header, and a key, in a line of TOML.
_HEADER = re.compile(r"^\s*\[\[?([^\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


#: Reads a further table of the file: gets its entries, the handlers, and a function to call for each fault of an entry,
#: with the entry's name, the key ("": the entry as a whole) and a sentence. Returns the entries as JSON values by name.
ReadTable = Callable[
    [Mapping[str, Any], Mapping[str, "Handler | None"], Callable[[str, str, str], None]], Mapping[str, Any]
]
#: The dotted paths of these functions, by the tables' names; None: it is not known yet which tables there are.
further_tables: dict[str, str] | None = None
#: The dotted paths of what features add to the keys of a handler: each of a mapping of `FurtherKey` by the keys' names;
#: None: it is not known yet which keys there are.
further_keys: tuple[str, ...] | None = None


class HandlersError(Exception):
    """handlers.toml is not valid. `faults` has one line for each fault, with file, line and key."""

    def __init__(self, path: Path, faults: tuple[str, ...]) -> None:
        self.path = path
        self.faults = faults
        plural = "fault" if len(faults) == 1 else "faults"
        super().__init__(f"{len(faults)} {plural} in {path}:\n" + "\n".join(f"  {fault}" for fault in faults))


@dataclass(frozen=True)
class Defaults:
    """The fields of a handler that leaves out their keys, and what it may mount. Seconds and bytes."""

    timeout: float = 30.0
    max_retries: int = 3
    retry_backoff: float = 1.0
    profile: str = "sealed"
    memory_limit: int | None = None
    mount_rules: MountRules = NO_MOUNTS
    retention_completed: float | None = None
    retention_failed: float | None = None


def _key(check: keys.Check, default: Any = None, **more: Any) -> Any:
    return field(default=default, metadata={"check": check, **more})


@dataclass(frozen=True)
class Handler:
    """How one task type is run, and the keys by which handlers.toml says so. Seconds and bytes; None: the profile's
    default, the handler's own value as a limit, or kept for ever.

    Without an image, `command` is run as a child process in `cwd`, the folder of handlers.toml, where relative paths in
    it are found. If its first word is `python` or `python3`, the interpreter of this process is run, so that handlers
    find the packages installed for it.
    """

    name: str
    description: str | None = _key(keys.description)
    image: str | None = _key(keys.image)
    command: tuple[str, ...] | None = _key(keys.command)
    cwd: Path = Path()
    instances: int = _key(keys.integer(1, 1000), 2)
    timeout: float = _key(keys.seconds(0, above=True), 30.0)
    timeout_limit: float | None = _key(keys.seconds(0, above=True))
    handler_selection: str = _key(keys.choice(*keys.SELECTIONS), "round-robin")
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), metadata={"check": keys.env})
    env_from: tuple[str, ...] = _key(keys.list_of(keys.secret), ())
    max_retries: int = _key(keys.integer(0, 1000), 3)
    retries_limit: int | None = _key(keys.integer(0, 1000))
    retry_backoff: float = _key(keys.seconds(0), 1.0)
    retry_on: frozenset[str] = _key(
        lambda value: frozenset(keys.list_of(keys.choice(*keys.RETRY_ON))(value)), frozenset(keys.RETRY_ON)
    )
    error_tail: bool = _key(keys.flag, True)
    start_timeout: float = _key(keys.seconds(0), 30.0)
    stop_grace: float = _key(keys.seconds(0), 2.0)
    retention_completed: float | None = _key(retention)
    retention_failed: float | None = _key(retention)
    max_tasks_per_container: int | None = _key(keys.integer(1, 1_000_000_000))
    max_container_age: float | None = _key(keys.seconds(1))
    profile: str = _key(keys.choice(*keys.PROFILES), "sealed", needs_image=True)
    memory_limit: int | None = _key(keys.memory, needs_image=True)
    cpus: float | None = _key(keys.cpus, needs_image=True)
    pids_limit: int | None = _key(keys.integer(1, 1_000_000), needs_image=True)
    network: str | None = _key(keys.network, needs_image=True)
    read_only: bool | None = _key(keys.flag, needs_image=True)
    tmpfs: Mapping[str, int] | None = _key(keys.tmpfs, needs_image=True)
    tmpfs_exec: bool | None = _key(keys.flag, needs_image=True)
    shm_size: int | None = _key(keys.size(4096), needs_image=True)
    user: str | None = _key(keys.text, needs_image=True)
    cap_add: tuple[str, ...] = _key(keys.list_of(keys.capability), (), needs_image=True)
    runtime: str | None = _key(keys.text, needs_image=True)
    mounts: tuple[Mount, ...] = _key(keys.list_of(keys.mount, '["/here:/there"]'), (), needs_image=True)
    mount_rules: MountRules = NO_MOUNTS
    #: Identifies the contents of the files below `cwd` that the command of a child process names; blank: it names none.
    sources: str = ""
    #: The keys of features that it has (`Feature.handler_keys`), as JSON values.
    further: Mapping[str, Any] = MappingProxyType({})

    @property
    def longest_timeout(self) -> float:
        """The largest `timeout` that a caller may ask for."""
        return self.timeout if self.timeout_limit is None else self.timeout_limit

    @property
    def most_retries(self) -> int:
        """The largest `max_retries` that a caller may ask for."""
        return self.max_retries if self.retries_limit is None else self.retries_limit


#: The metadata of each key: `check`, a function of `keys`; `needs_image`: the key has no effect on a child process.
KEYS: Mapping[str, Mapping[str, Any]] = {key.name: key.metadata for key in fields(Handler) if key.metadata}


class Handlers(dict[str, Handler]):
    """One revision of the file: the handlers by name, in the file's order. Never changed.

    `files`: the files that were read, handlers.toml and the files that its commands name, each with the digest of its
    content (blank: it is no file). `tables`: the further tables that it has, as JSON values. `revision` identifies all
    values and the contents of the files that commands name, in 12 hex digits.

    `digest` is a SHA-256 in hex of what the handlers run: two nodes with the same digest run a task in the same way. It
    covers values, not text: comments, order and keys with their default value change nothing. It leaves out
    `description`, the limits for callers, how long tasks are kept, and everything that may differ between machines:
    `instances`, the file's folder, the contents of the files that it names, and the rules for mounts.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        path: Path,
        files: Mapping[Path, str],
        tables: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        super().__init__(handlers)
        self.path, self.files, self.tables = path, files, tables
        self.digest = _hash(handlers, _NOT_RUN)
        self.revision = _hash(handlers, _NOT_OF_REVISION, tables)[:12]

    # Without values: the environment of a handler may have secrets.
    def __repr__(self) -> str:
        return f"<Handlers {' '.join(self)} from {self.path}>"


def load(path: Path, defaults: Defaults) -> Handlers:
    """Read and check the file, and read the files that its commands name. Raises HandlersError with all its faults."""
    content = _content(path)
    read = hashlib.sha256(content).hexdigest()
    content = content.removeprefix(codecs.BOM_UTF8)  # some editors write this mark
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise HandlersError(path, (f"{path.name}:{line}: is not UTF-8",)) from None
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        why = f"is not TOML: {error}{of_quotes(error.doc, error.lineno)}"
        raise HandlersError(path, (f"{path.name}:{error.lineno}: {why}",)) from None
    except (RecursionError, ValueError) as error:  # nested too deeply; a number with thousands of digits
        raise HandlersError(path, (f"{path.name}: cannot be read as TOML: {error}",)) from None
    reading = _Reading(path, Positions(text), defaults)
    handlers = reading.file(tables)
    if reading.faults:
        ordered = sorted(reading.faults, key=lambda fault: fault[0])
        raise HandlersError(path, tuple(text for _, text in ordered))
    return Handlers(handlers, path, {path: read, **reading.files}, reading.tables)


def _content(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except _NoFile:
        why = "is not a file"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    else:
        if len(content) <= MAX_FILE_BYTES:
            return content
        why = f"is larger than 1 MiB ({MAX_FILE_BYTES:,} bytes), so it is not read; make it shorter"
        raise HandlersError(path, (f"{path} {why}, or set HANDLER_CONFIG to another file",))
    raise HandlersError(path, (f"{path} {why}; set HANDLER_CONFIG to a file that this user can read",))


class _Reading:
    """One pass over a file. It continues after a fault, to report all of them."""

    def __init__(self, path: Path, positions: Positions, defaults: Defaults) -> None:
        self.faults: list[tuple[int, str]] = []
        #: The digest of the content of each file that commands name.
        self.files: dict[Path, str] = {}
        #: The entries of further tables.
        self.tables: dict[str, Mapping[str, Any]] = {}
        self._path = path
        self._positions = positions
        self._defaults = defaults
        self._further_keys: dict[str, FurtherKey] = {}
        for mapping in further_keys or ():
            self._further_keys |= resolve_name(mapping)
        self._known = [*KEYS, *self._further_keys]
        self._other_names = OTHER_NAMES | {
            other: name for name, key in self._further_keys.items() for other in key.other_names
        }

    def file(self, tables: dict[str, Any]) -> dict[str, Handler]:
        further = further_tables or {}
        for name in tables:
            if name != "handlers" and name not in further and further_tables is not None:
                close = nearest(name, ["handlers", *further])
                meant = f"handlers.{name}" if close is None else f"{close}.NAME"
                self._fault((name,), f"[{name}]: is unknown; did you mean [{meant}]?")
        named = tables.get("handlers", {})
        if not isinstance(named, dict):
            self._fault(("handlers",), "[handlers]: is not a table; write [handlers.NAME]")
            return {}
        if not named and not self.faults:
            self._fault(("handlers",), "[handlers]: has no handler; write [handlers.NAME]")
        handlers = {name: self._handler(name, table) for name, table in named.items()}
        kept = {name: handler for name, handler in handlers.items() if handler is not None}
        self._check_writable(kept)
        for table, path in further.items():
            if table in tables:
                self._further(table, tables[table], dict.fromkeys(named) | kept, resolve_name(path))
        return kept

    def _further(self, table: str, entries: Any, handlers: Mapping[str, Handler | None], read: ReadTable) -> None:
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            self._fault((table,), f"[{table}]: is not a table of tables; write [{table}.NAME]")
            return

        def fault(name: str, key: str, sentence: str) -> None:
            self._fault((table, name, key), f"[{table}.{name}]: {sentence}")

        if found := read(entries, handlers, fault):
            self.tables[table] = found

    def _check_writable(self, handlers: Mapping[str, Handler]) -> None:
        mounts = [(name, mount) for name, handler in handlers.items() for mount in handler.mounts]
        for name, mount in mounts:
            writer = next((writer for writer, outer in mounts if mount.is_inside(outer)), None)
            if writer is not None:
                self._key(
                    name,
                    "mounts",
                    f"{mount.source} is in a folder that [handlers.{writer}] may write to, so a link may be put in its "
                    "place; mount that whole folder, or one outside of it",
                )
            path = next((path for path in (self._path, *self.files) if mount.lets_write(path)), None)
            if path is not None:
                self._key(
                    name,
                    "mounts",
                    f"{mount.source} has {path} in it, and whoever writes that decides what runs on this machine; "
                    "mount a folder of its own",
                )

    def _handler(self, name: str, table: Any) -> Handler | None:
        before = len(self.faults)
        if not is_name(name):
            close = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:MAX_NAME_CHARS] or "NAME"
            self._key(
                name,
                "",
                f"a name has only letters, digits, - and _, at most {MAX_NAME_CHARS}; did you mean [handlers.{close}]?",
            )
        if not isinstance(table, dict):
            self._key(name, "", f"{shown(table)} is not a table; write [handlers.{name}] above its keys")
            return None
        # A deployment's defaults may be for containers only; in a handler without an image that is no fault.
        values: dict[str, Any] = {**vars(self._defaults)}
        wrong = set()
        nested = False
        further: dict[str, Any] = {}
        for key, value in table.items():
            known = KEYS.get(key)
            if (added := self._further_keys.get(key)) is not None:
                try:
                    further[key] = added.check(value)
                except ValueError as error:
                    for sentence in error.args:
                        self._key(name, key, sentence)
                continue
            if known is None and (inner := handler_inside(key, value)):
                nested = True
                meant = "-".join((name, *inner))
                self._fault(
                    ("handlers", name, *inner),
                    f"[handlers.{'.'.join((name, *inner))}]: a name has no dots, which make a table within "
                    f"[handlers.{name}]; did you mean [handlers.{meant}]?",
                )
                continue
            if known is None:
                if further_keys is not None or nearest(key, KEYS, VERY_ALIKE):  # else it may be a feature's
                    self._key(name, key, unknown(key, self._known, self._other_names))
                continue
            try:
                values[key] = known["check"](value)
            except ValueError as error:
                wrong.add(key)
                for sentence in error.args:
                    self._key(name, key, sentence)
            for mount in values.get(key, ()) if key == "mounts" else ():
                if refusal := self._defaults.mount_rules.refusal(mount.source, mount.writable):
                    self._key(name, key, refusal)
            if known.get("needs_image") and "image" not in table and "command" in table:
                self._key(name, key, "applies only to containers, and there is no `image`; leave it out or add one")
        for limit, own, variable in _LIMITS:
            if limit in values and own not in wrong and values[limit] < values[own]:
                whose = f"{own} = {values[own]:g}" if own in table else f"{variable}, which is {values[own]:g}"
                self._key(name, limit, f"{values[limit]:g} is below {whose}; write at least that, or leave it out")
        if "image" in table and (why := unusable_capabilities(values)):
            self._key(name, "cap_add", why)
        if shared := shared_target(values):
            self._key(name, "mounts", f"something else is mounted on {shared} too; choose another path")
        if "image" not in table and "command" not in table and not nested:
            others = [key for key in table if key not in self._known]
            alike = VERY_ALIKE if further_keys is None else ALIKE
            if not any(nearest(key, ["image", "command"], alike) for key in others):
                self._key(name, "", "has neither `image` nor `command`; one of them is needed")
        if len(self.faults) > before:
            return None
        cwd = self._path.resolve().parent
        return Handler(
            name=name, cwd=cwd, sources=self._sources(values, cwd), further=MappingProxyType(further), **values
        )

    def _sources(self, values: Mapping[str, Any], cwd: Path) -> str:
        named = [] if values.get("image") else named_files(values["command"], cwd)
        for path in named:
            if path not in self.files:
                self.files[path] = content_digest(path)
        there = [self.files[path] for path in named if self.files[path]]
        return hashlib.sha256(" ".join(there).encode()).hexdigest()[:16] if there else ""

    def _key(self, name: str, key: str, message: str) -> None:
        self._fault(("handlers", name, key), f"[handlers.{name}]{' ' + key if key else ''}: {message}")

    def _fault(self, path: tuple[str, ...], message: str) -> None:
        line = self._positions.line(*path)
        self.faults.append((line, f"{self._path.name}:{line}: {message}"))


#: A word of a command with such an ending names a file.
SCRIPT_ENDINGS = (".py", ".sh", ".pl", ".rb", ".js", ".mjs", ".ts", ".php", ".lua", ".jar")


def named_files(command: Sequence[str], folder: Path) -> list[Path]:
    """The program and the scripts that a command names below the folder of handlers.toml, whether they exist or not.

    Other words may name files that the handler writes.
    """
    words = [word for word in command[1:] if word.endswith(SCRIPT_ENDINGS) and not word.startswith("-")]
    paths = (os.path.normpath(folder / word) for word in (*(command[:1] if "/" in command[0] else ()), *words))
    return [Path(path) for path in dict.fromkeys(paths) if path.startswith(f"{folder}{os.sep}")]


class _NoFile(OSError):
    """A path leads to a folder, a FIFO, a device."""


def _opened(path: Path) -> BufferedReader:
    """A regular file. Raises OSError. Nothing else is opened: a FIFO waits for its writer, and devices act."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _NoFile
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(opened).st_mode):  # the file was replaced meanwhile
        os.close(opened)
        raise _NoFile
    return os.fdopen(opened, "rb")


def file_stat(path: Path | int) -> tuple[int, ...] | None:
    """A stat that differs after a write, after a rename, or once a link leads elsewhere; None: there is no such
    file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def is_recent(found: tuple[int, ...] | None) -> bool:
    """Whether a file's stat was changed so recently that another write may leave it as it is."""
    return found is not None and found[0] > time.time_ns() - RECENT_SECONDS * 1e9


def config_digest(path: Path) -> str:
    """As `content_digest`, of as many bytes of handlers.toml as are read at most."""
    try:
        with _opened(path) as file:
            return hashlib.sha256(file.read(MAX_FILE_BYTES + 1)).hexdigest()
    except (OSError, ValueError):
        return ""


#: The stat and the digest of each file that was read.
_digests: dict[Path, tuple[tuple[int, ...], str]] = {}


def content_digest(path: Path) -> str:
    """A SHA-256 in hex of a regular file's content; blank for anything else, also for a file that cannot be read.

    A file is read again only if its stat has changed.
    """
    before = file_stat(path)
    known = _digests.get(path)
    if known is not None and known[0] == before:
        return known[1]
    try:
        with _opened(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if before is not None and before == file_stat(file.fileno()) and not is_recent(before):
                _digests[path] = before, digest
            return digest
    except (OSError, ValueError):
        return ""


class Positions:
    """The line numbers of the tables and keys of a TOML text, which tomli does not report. Only for messages."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        inside: str | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if inside is None:
                if header := _HEADER.match(line):
                    table = self._note((), header.group(1), number)
                elif key := _KEY.match(line):
                    self._note(table, key.group(1), number)
            # Lines inside a multi-line string may look like keys.
            for quotes in ('"""', "'''"):
                if line.count(quotes) % 2 and inside in (None, quotes):
                    inside = None if inside else quotes

    def line(self, *path: str) -> int:
        """The line of the key, or of the nearest table around it. 1 is the first."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    def _note(self, table: tuple[str, ...], dotted: str, number: int) -> tuple[str, ...]:
        path = table + _path(dotted)
        for length in range(len(table) + 1, min(len(path), NAMED_LEVELS) + 1):
            self._lines.setdefault(path[:length], number)
        return path


def _path(dotted: str) -> tuple[str, ...]:
    try:
        level: Any = tomli.loads(f"{dotted} = 0")
    except tomli.TOMLDecodeError:
        return ()
    names = []
    while isinstance(level, dict):
        name, level = next(iter(level.items()))
        names.append(name)
    return tuple(names)


def _hash(handlers: Mapping[str, Handler], without: Set[str], tables: Mapping[str, Any] = MappingProxyType({})) -> str:
    defaults = Handler("")
    values: dict[str, Any] = {
        name: {
            key: value
            for one in fields(handler)
            if (key := one.name) not in without and (value := getattr(handler, key)) != getattr(defaults, key)
        }
        for name, handler in handlers.items()
    }

    def plain(value: Any) -> Any:
        return dict(value) if isinstance(value, Mapping) else sorted(value)

    text = json.dumps([values, tables] if tables else values, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()
