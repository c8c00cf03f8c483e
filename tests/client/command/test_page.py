"""docs/command.md is what the command says of itself. REWRITE=1 pytest tests/client/command/test_page.py writes it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator

import click

from taskdaemon_client.command.app import root
from taskdaemon_client.command.words import Names
from testkit.process import PROJECT

PAGE = PROJECT / "docs/command.md"
HEAD = """# The command

<!-- Written by tests/client/command/test_page.py from the command's own help. -->

`tdctl` is the command of callers and operators. It calls nothing but the API. In a checkout it is
`.venv/bin/tdctl`. The platform's wheel has it beside `taskdaemon-platform`, and so has the image:
`docker compose exec web tdctl list`. Elsewhere it comes with the [Python client](client.md), which needs Python 3.10
or newer and is on no registry yet. Install that from `client` of a checkout, but not where the platform's wheel is
installed:

```sh
pip install './client[cli]'                  # or, without installing it:
uvx --from './client[cli]' tdctl --help
```
"""
#: Each command has them.
EVERYWHERE = ("help", "url", "profile")


def test_the_page_is_what_the_command_says_of_itself() -> None:
    text = "\n".join(page())
    if os.environ.get("REWRITE"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "REWRITE=1 pytest tests/client/command/test_page.py"


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield from prose(root.help)
    yield from options(root.params)
    yield from prose(root.epilog)
    for title, commands in root.sections.items():
        yield f"## {title}\n"
        for command in commands:
            yield from section(command, "tdctl")


def section(command: click.Command, before: str) -> Iterator[str]:
    """What the page says of a command, and of those below it."""
    name = f"{before} {command.name}"
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from section(inner, name)
        return
    context = click.Context(command, info_name=name)
    yield f"### {name}\n"
    yield f"```\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n"
    yield from prose(command.help)
    yield from options(param for param in command.params if param.name not in EVERYWHERE)
    for names in (param.type for param in command.params if isinstance(param.type, Names)):
        yield f"Fields: {', '.join(f'`{name}`' for name in names.known)}.\n"


def prose(text: str | None) -> Iterator[str]:
    """Paragraphs; what is marked to keep its lines is code."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield f"```\n{paragraph[2:]}\n```\n"
        else:
            yield f"{paragraph}\n"


def options(params: Iterable[click.Parameter]) -> Iterator[str]:
    """A table of options."""
    rows = [param.get_help_record(click.Context(root)) for param in params if isinstance(param, click.Option)]
    if rows:
        yield "| option | |\n|---|---|"
        for words, help in filter(None, rows):
            yield "| `{}` | {} |".format(*(part.replace("|", "\\|") for part in (words, help)))
        yield ""
