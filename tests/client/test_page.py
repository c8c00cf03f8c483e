"""docs/client.md: its calls are the docstrings', and what it shows runs."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from taskdaemon_client import Client, testing, webhooks
from taskdaemon_client import settings as where
from tests.api.system import system

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs" / "client.md"
MARK = "<!-- From the docstrings: REWRITE=1 pytest tests/client/test_page.py -->\n"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def reference() -> str:
    """The section of all calls."""
    client = Client("http://x")
    parts = [entry("Client", Client), *methods(client, "client.")]
    for name in ("handlers", "nodes", "operations", "schedules", "callbacks"):
        group = getattr(client, name)
        parts += [
            f"### client.{name}\n\n{sentence(text(type(group)).partition(': ')[2])}",
            *methods(group, f"client.{name}."),
        ]
    parts.append("### Beside the client")
    for name, thing in (
        ("verify_webhook", webhooks.verify_webhook),
        ("taskdaemon_client.testing.FakePlatform", testing.FakePlatform),
        ("taskdaemon_client.settings.settings", where.settings),
    ):
        parts.append(entry(name, thing))
    client.close()
    return "\n\n".join(parts) + "\n"


def sentence(words: str) -> str:
    """The words with a capital letter."""
    return words[:1].upper() + words[1:]


def methods(thing: object, before: str) -> list[str]:
    """The public methods, in the order of their source."""
    names = [name for name in vars(type(thing)) if not name.startswith("_") and inspect.ismethod(getattr(thing, name))]
    return [entry(before + name, getattr(thing, name)) for name in names]


def entry(name: str, thing: Callable[..., object]) -> str:
    """A call: how it is called, and what it does."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(thing).parameters.values()]
    return f"**`{name}{inspect.Signature(bare)}`**\n\n{text(thing)}"


def text(thing: object) -> str:
    """The docstring, without a program that the page has already."""
    return re.sub(r"\n*```.*?```", "", inspect.getdoc(thing) or "", flags=re.DOTALL)


def test_each_call_is_described_by_its_docstring() -> None:
    head, _, written = PAGE.read_text().partition(MARK)
    made = "\n" + reference()
    if os.environ.get("REWRITE"):
        PAGE.write_text(head + MARK + made)
    assert written == made or os.environ.get("REWRITE")


def test_each_public_call_has_a_docstring() -> None:
    assert not re.search(r"\*\*\n\n(\n|\*\*|$)", reference())


def test_the_programs_of_the_page_and_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = re.findall(r"^```python\n(from taskdaemon_client.*?)^```", (TOP / "README.md").read_text(), re.M | re.S)
    assert readme and len(PROGRAMS) > 6
    with system(tmp_path) as daemon:
        monkeypatch.setenv("TASKDAEMON_URL", daemon.base)
        for program in (*readme, *PROGRAMS):
            exec(compile(program.replace("http://localhost:8080", daemon.base), "program", "exec"), {})
    said = capsys.readouterr().out
    assert said.count("completed 78498") == 2
    assert "168" in said and "0 failed" in said and "0 redriven" in said
