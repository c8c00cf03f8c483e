"""Writes src/taskdaemon_client/_options.py of the platform's declarations: python client/generate_options.py.

A test runs it with --check. tasks_app/options/option.py declares the attributes of an option.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import django

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
django.setup()

from client.generate_sync import PACKAGE, tidy  # noqa: E402
from tasks_app.options.known import given, in_answers  # noqa: E402
from tasks_app.options.option import Option  # noqa: E402

HEAD = '''"""Made of the platform's options of tasks by client/generate_options.py: change them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict


'''
#: Python's types by JSON's types: for given values, and for values of answers.
GIVEN = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict[str, Any]",
    "array": "Sequence[str]", "date-time": "datetime | str",
}  # fmt: skip
ANSWERED = GIVEN | {"array": "list[str]", "date-time": "datetime"}


def python(schema: Mapping[str, Any], types: Mapping[str, str]) -> str:
    """The type of the values of a schema."""
    return f"{types['date-time' if schema.get('format') == 'date-time' else schema['type']]} | None"


def keywords(name: str, text: str, options: Iterable[Option]) -> str:
    """A class with these options as keywords."""
    lines = [f"class {name}(TypedDict, total=False):", f'    """{text}"""\n']
    for option in options:
        schema = option.reads().schema
        lines.append(fill(schema["description"], 120, initial_indent="    #: ", subsequent_indent="    #: "))
        lines.append(f"    {option.name}: {python(schema, GIVEN)}")
    return "\n".join(lines) + "\n\n\n"


def of_the_command(option: Option) -> dict[str, Any]:
    """The arguments of an option of `tdctl submit`."""
    several = option.reads().schema["type"] == "array"
    words = {"words": [f"--{option.word.lower()}"], "multiple": True} if several else {}
    return {**words, "metavar": option.word, "help": option.brief}


def source() -> str:
    """The file."""
    options = [*given().values()]
    lasting = [option for option in options if option.lasting]
    single = [option for option in options if not option.lasting]
    shown = [f"    {name}: {python(option.answer or {}, ANSWERED)} = None" for name, option in in_answers().items()]
    parts = [
        HEAD,
        keywords(
            "LastingTaskOptions",
            "Options of a task that a schedule may have, too.",
            lasting,
        ),
        keywords("SingleTaskOptions", "Options of a single task, which no schedule has.", single),
        '@dataclass(frozen=True, kw_only=True)\nclass ShownOptions:\n    """The options that a task shows."""\n\n',
        *(f"{line}\n" for line in shown),
        "\n\n#: The options that a task shows as they were given.\n",
        f"SHOWN = {tuple(option.name for option in options if option.answer is not None)!r}\n",
        "#: The options of `tdctl submit`: the arguments of click's options.\n",
        f"COMMAND: dict[str, dict[str, Any]] = { {option.name: of_the_command(option) for option in options}!r}\n",
    ]
    return tidy("".join(parts))


def main() -> None:
    """Write the file, or with --check say that it differs."""
    made, there = source(), PACKAGE / "_options.py"
    if there.exists() and there.read_text() == made:
        return
    if "--check" in sys.argv:
        sys.exit("_options.py: run python client/generate_options.py")
    there.write_text(made)


if __name__ == "__main__":
    main()
