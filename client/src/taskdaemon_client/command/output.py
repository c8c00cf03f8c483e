"""The output of a command: data goes to stdout; sentences and a bar go to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

#: An object of the API, as the platform sent it.
Raw = Mapping[str, Any]
#: The value of --json: None without the option, () for all fields.
Fields = Sequence[str] | None
#: A column of a table: its heading, and its cell of an object.
Column = tuple[str, Callable[[Raw], object]]

# Control characters except tab and newline, and characters that change the direction of writing, join or hide others.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_STYLES = {
    "completed": "green", "failed": "red", "processing": "cyan", "running": "cyan", "paused": "yellow",
    "alive": "green", "drained": "yellow", "draining": "yellow", "silent": "red", "aborted": "yellow", "stopped": "red",
}  # fmt: skip


class PipeClosed(Exception):
    """The reader of the command's output has closed the pipe: `tdctl list | head -1`."""


def write(text: str) -> None:
    """Write data as it is. Nothing of it is left in a buffer when this returns."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise PipeClosed from None


def say(sentence: str) -> None:
    """Write a sentence for the user. A full disk does not change how the command ends."""
    try:
        sys.stderr.write(harmless(sentence) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError:
        drop_what_is_unwritten(sys.stderr)


def drop_what_is_unwritten(stream: TextIO) -> None:
    """Drop the buffered output, so that the interpreter does not complain at its end that it cannot write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def harmless(text: str) -> str:
    """The text with control characters as text: an escape as `\\x1b`, a right-to-left mark as `\\u200f`."""
    return _CONTROL.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def as_json(value: object, indent: int | None = None) -> str:
    """A JSON value as text that does no harm to a terminal."""
    ascii_only = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_object(raw: Raw, fields: Fields) -> None:
    """Write one object: as JSON, or as a line for each field that has a value."""
    if fields is not None:
        write(as_json(_chosen(raw, fields), indent=2 if sys.stdout.isatty() else None) + "\n")
        return
    rows = [(name, _cell(value)) for name, value in raw.items() if value not in (None, [], {}, "")]
    width = max((len(name) for name, _ in rows), default=0) if sys.stdout.isatty() else 0
    write("".join(f"{name:<{width}}{'  ' if width else chr(9)}{cell}\n" for name, cell in rows))


def write_id(id: str, raw: Raw, fields: Fields) -> None:
    """Write the id of a new object, or with --json the object."""
    if fields is None:
        write(f"{id}\n")
    else:
        write_object(raw, fields)


def write_line(raw: Raw, fields: Sequence[str]) -> None:
    """Write one object of a sequence as a line of JSON."""
    write(as_json(_chosen(raw, fields)) + "\n")


def write_list(objects: Iterable[Raw], columns: Sequence[Column], fields: Fields) -> None:
    """Write many objects: as a JSON array with a line for each, or as a table.

    Without a terminal a table has no headings, and tabs between its cells.
    """
    if fields is not None:
        before = "["
        for raw in objects:
            write(f"{before}\n{as_json(_chosen(raw, fields))}")
            before = ","
        write("[]\n" if before == "[" else "\n]\n")
    elif sys.stdout.isatty():
        write(rendered(table(objects, columns)))
    else:
        for raw in objects:
            write_row([cell(raw) for _, cell in columns])


def write_row(values: Iterable[object]) -> None:
    """Write values with tabs between them."""
    write("\t".join(map(_cell, values)) + "\n")


def columns(*given: str | Column) -> list[Column]:
    """The columns of a table. A field's name stands for a column of this field with its name as the heading."""
    return [(each.upper().replace("_", " "), itemgetter(each)) if isinstance(each, str) else each for each in given]


def table(objects: Iterable[Raw], columns: Sequence[Column]) -> Table:
    """A table for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        shown.add_column(heading, overflow="ellipsis", no_wrap=True)
    for raw in objects:
        texts = [_cell(cell(raw)) for _, cell in columns]
        shown.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in texts))
    return shown


def rendered(shown: object) -> str:
    """The text that rich would print to the terminal of stdout."""
    console = Console()
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def _chosen(raw: Raw, fields: Sequence[str]) -> Raw:
    return {name: raw.get(name) for name in fields} if fields else raw


def _cell(value: object) -> str:
    """A value on one line; blank for an empty value."""
    if value in (None, [], {}):
        return ""
    text = value if isinstance(value, str) else as_json(value)
    return harmless(" ".join(text.split()) if "\n" in text or "\t" in text else text)


class Bar:
    """A bar on stderr, or nothing if stderr is no terminal."""

    def __init__(self, progress: Progress, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def show(self, done: float | None = None, words: str | None = None) -> None:
        """Show the progress and a sentence about it."""
        self._progress.update(self._task, completed=done, description=None if words is None else harmless(words))


@contextmanager
def bar(total: float | None) -> Iterator[Bar]:
    """A bar while the block runs."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # The output of stdout goes above the bar only if stdout is the terminal.
    progress = Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip
    with progress:
        yield Bar(progress, total)
