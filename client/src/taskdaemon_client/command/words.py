"""The syntax of commands: the options for the platform's address, --json, and the values that a person types."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from taskdaemon_client import Client, TaskdaemonError
from taskdaemon_client.answers import Answer
from taskdaemon_client.command.output import say

F = TypeVar("F", bound=Callable[..., Any])


class _Says(logging.Handler):
    """Says what the client logs: that it waits before it sends a call again."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


logging.getLogger("taskdaemon_client").addHandler(_Says())
logging.getLogger("taskdaemon_client").setLevel(logging.INFO)

#: How often a call is sent again, for up to a second: a person wants to know soon that the platform does not answer.
RETRIES = 3
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Seconds(click.ParamType):
    """Seconds, or a number with its unit: 90, 1.5, 15m, 2h, 7d."""

    name = "seconds"

    def __init__(self, least: float = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of seconds: an int if it is whole, else a float."""
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value)
        if found is None:
            self.fail(f"{value!r} is no number of seconds, and not like 15m, 2h or 7d", param, ctx)
        seconds = float(found[1]) * _UNITS[found[2]]
        if seconds < self.least:
            self.fail(f"it must be at least {self.least:g} s", param, ctx)
        return int(seconds) if seconds.is_integer() else seconds


class Name(click.ParamType):
    """A name. It must not be empty, as an unset variable of a shell is."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The same text; an empty text is refused."""
        if not value.strip():
            self.fail("it is empty", param, ctx)
        return value


class JsonObject(click.ParamType):
    """A JSON object, or its source: `-` is stdin, `@FILE` a file."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The object, read from its source."""
        if not isinstance(value, str):
            return value
        where = {"-": "stdin", "@": value[1:]}.get(value[:1], "it")
        try:
            found = strict_json(_text(value))
        except OSError as error:
            self.fail(f"{where}: {error.strerror}", param, ctx)
        except ValueError as error:
            self.fail(f"{where} is not JSON: {error}; an object looks like '{{\"limit\": 100}}'", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{where} is no JSON object, which looks like '{{\"limit\": 100}}'", param, ctx)
        return found


def _text(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    return Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value


def strict_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError also for the extensions that Python's parser accepts."""
    try:
        value = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_constant, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large")
    return number


class OptionalValue(click.Option):
    """An option whose value may be left out: `--wait`, `--wait 30`, `--wait=30`.

    The word after it is its value if it `looks` like one. `absent` is its value if there is none.
    """

    def __init__(self, words: Sequence[str], looks: Callable[[str], bool], absent: object, **attributes: Any) -> None:
        super().__init__(words, **attributes)
        self.looks, self.absent = looks, absent

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """The value of the option."""
        return self.absent if value == "" else super().type_cast_value(ctx, value)

    def join(self, words: list[str]) -> list[str]:
        """The words of a command, in which this option's value is joined to it."""
        joined: list[str] = []
        rest = iter(range(len(words)))
        for index in rest:
            word = words[index]
            if word == "--":
                return joined + words[index:]
            if word in self.opts:
                value = words[index + 1] if index + 1 < len(words) and self.looks(words[index + 1]) else ""
                joined.append(f"{word}={value}")
                if value:
                    next(rest)
            else:
                joined.append(word)
        return joined


class Names(click.ParamType):
    """The value of --json: names of fields."""

    name = "fields"

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def looks(self, word: str) -> bool:
        """Whether a word is meant as fields: a field's name, perhaps misspelt, or several words with commas."""
        return bool(re.fullmatch(r"\w+(,\w+)+", word) or difflib.get_close_matches(word, self.known, 1, 0.8))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The names as a tuple; empty for all fields."""
        names = tuple(filter(None, value.split(",")))
        if unknown := [name for name in names if name not in self.known]:
            self.fail(f"there is no field {', '.join(unknown)}; there are {', '.join(self.known)}", param, ctx)
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The fields that begin with the typed text."""
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + name) for name in self.known if name.startswith(last)]


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[f"taskdaemon.{param.name}"] = value


def connection() -> list[click.Option]:
    """The options for the platform's address; they may stand before the command's name, or after it."""
    return [
        click.Option(
            ["--url"], metavar="URL", expose_value=False, callback=_remember, is_eager=True,
            help="The platform's address. [TASKDAEMON_URL; default: http://127.0.0.1:8080]",
        ),
        click.Option(
            ["--profile"], metavar="NAME", expose_value=False, callback=_remember, is_eager=True,
            help="The profile with the address and the key. [TASKDAEMON_PROFILE]",
        ),
    ]  # fmt: skip


def connect(**options: Any) -> Client:
    """A client of the platform that the command line names."""
    meta = click.get_current_context().meta
    try:
        return Client(meta.get("taskdaemon.url"), profile=meta.get("taskdaemon.profile"), **options)
    except (ImportError, ValueError) as error:  # httpx2 of HTTPS_PROXY, ALL_PROXY ...
        raise click.ClickException(f"the proxy of the environment cannot be used: {error}") from None


class Command(click.Command):
    """A command that calls the platform.

    `shows`: the answer or the fields that it shows; --json chooses from the fields.
    """

    def __init__(self, *words: Any, shows: type[Answer] | Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*words, **attributes)
        known = fields_of(shows) if isinstance(shows, type) else tuple(shows)
        if known:
            names = Names(known)
            help = "Write JSON: everything, or these fields (a,b,c)."
            option = OptionalValue(["--json", "fields"], names.looks, (), type=names, metavar="[FIELDS]", help=help)
            self.params.append(option)
        self.params += connection()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words."""
        for param in self.params:
            if isinstance(param, OptionalValue):
                args = param.join(args)
        return super().parse_args(ctx, args)


def fields_of(*answers: type[Answer]) -> tuple[str, ...]:
    """The fields of these answers of the API, each once."""
    names = dict.fromkeys(field.name for answer in answers for field in dataclasses.fields(answer))
    return tuple(name for name in names if name != "raw")


class Commands(click.Group):
    """A group of commands. Without a command's name it runs the first command, as in `tdctl schedules --json`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def calls(**options: Any) -> Callable[[F], Callable[..., Any]]:
    """Give a command's function the client as its first argument. `options`: of the client."""

    def decorate(function: F) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(**arguments: Any) -> Any:
            with connect(**{"retries": RETRIES, **options}) as client:
                return function(client, **arguments)

        return call

    return decorate


def completes(list_them: Callable[[Client], Sequence[str]]) -> Callable[..., list[CompletionItem]]:
    """Completes a word by names from the platform, if the platform answers at once."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with ctx, connect(retries=0, timeout=1.0) as client:
                return [CompletionItem(name) for name in list_them(client) if name.startswith(incomplete)]
        except (TaskdaemonError, click.ClickException):
            return []

    return complete


handler_types = completes(lambda client: [handler.type for handler in client.handlers.list()])
node_names = completes(lambda client: [node.name for node in client.nodes.list()])
schedule_names = completes(lambda client: [schedule.name for schedule in client.schedules.list()])
