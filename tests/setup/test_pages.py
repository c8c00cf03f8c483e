"""What the pages name exists: files, sections, commands, targets of make, variables."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click import Group
from django.core.management import get_commands

from taskdaemon_client.command.app import root
from tasks_app.conf import variables
from tasks_app.conf.reading import IGNORED_VARIABLES

TOP = Path(__file__).resolve().parents[2]
NAMES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "taskdaemon_site/README.md",
    "client/README.md",
    "tests/README.md",
)
PAGES = sorted([*(TOP / name for name in NAMES), *(TOP / "docs").rglob("*.md")])
COMMANDS = sorted({name for page in PAGES for name in re.findall(r"manage\.py ([a-z]\w+)", page.read_text())})


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_to_a_file_and_a_section(page: Path) -> None:
    missing = []
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in sections(target)):
            missing.append(f"{path}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_path_and_target_of_make_exists(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(r"(?<![\w/.])((?:bench|bin|deploy|docs|examples|testkit|tests)/[\w./-]*\w)", text)
    assert [path for path in paths if not (TOP / path).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, re.MULTILINE)) <= {
        pair for name in targets for pair in ((name, ""), ("", name))
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_variable_is_one_of_the_platform(page: Path) -> None:
    known = {name for name, _ in variables()} | set(IGNORED_VARIABLES)
    assert set(re.findall(r"\bDAEMON_[A-Z_]*[A-Z]\b", page.read_text())) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_command_of_tdctl_exists(page: Path) -> None:
    for first, second in re.findall(r"\btdctl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", page.read_text()):
        command = root.commands.get(first)
        assert command is not None, f"tdctl {first}"
        assert not second or not isinstance(command, Group) or second in command.commands, f"tdctl {first} {second}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_in_a_checkout_and_in_the_image(tmp_path: Path, command: str) -> None:
    assert command in get_commands() or command == "help"
    platform = tmp_path / "taskdaemon-platform"
    platform.write_text('#!/bin/sh\necho "$@"\n')
    platform.chmod(0o755)
    words = ["/bin/sh", str(TOP / "deploy/entrypoint"), command, "--help"]
    result = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert result.stdout == f"{command} --help\n", result.stderr
