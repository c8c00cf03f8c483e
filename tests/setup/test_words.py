"""One word, one meaning: names that were retired do not come back into identifiers, metrics and settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tasks_app.conf import variables

TOP = Path(__file__).resolve().parents[2]
#: A word that may not be part of an identifier, and what stands in its place.
RETIRED = {
    "bell": "notification",
    "bells": "notifications",
    "bury": "retire",
    "buried": "retired",
    "clerk": "dispatcher",
    "deed": "action",
    "doorbell": "local transport",
    "ear": "listener",
    "express": "fast path",
    "household": "baseline",
    "hurry": "force",
    "ledger": "in-flight tasks",
    "lend": "mark ready",
    "lent": "ready",
    "litter": "leftovers",
    "residue": "leftovers",
    "ring": "notify",
    "ringer": "notifier",
    "rung": "notified",
    "seal": "sandbox",
    "seat": "slot",
    "seats": "slots",
    "settler": "result writer",
    "stumbled": "internal error",
    "talk": "session",
    "tally": "local counters",
    "verdict": "retry decision",
}
#: Two that are retired as one name only.
RETIRED_NAMES = {
    "give_back": "release",
    "known_secrets": "weak_secrets",
    "odd_variables": "unknown_variables",
    "write_trouble": "write_health",
}
#: Served beside their new names for one version.
METRIC_ALIASES = {"bells_rung", "bells_heard", "bells_unsent", "bells_failed"}
ROOTS = ("tasks_app", "taskdaemon_site", "testkit", "tests", "bench", "bin")


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that a module defines or uses, with their lines."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield line, name
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield line, name
            case ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
                yield line, name


def retired(name: str) -> str | None:
    """What stands in the place of a retired word in a name; None if there is none in it."""
    if name in METRIC_ALIASES:
        return None
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    by_word = next((RETIRED[word] for word in words if word in RETIRED), None)
    return by_word or RETIRED_NAMES.get(name.strip("_"))


def modules() -> list[Path]:
    return [
        path
        for root in ROOTS
        for path in sorted((TOP / root).rglob("*.py"))
        if "migrations" not in path.parts and "rivals" not in path.parts
    ]


def test_no_identifier_has_a_retired_word() -> None:
    found = []
    for path in modules():
        where = path.relative_to(TOP)
        found += [f"{where}: the file: {word}" for part in where.parts if (word := retired(Path(part).stem))]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{where}:{line}: {name}: {word}" for line, name in identifiers(tree) if (word := retired(name))]
    assert sorted(set(found)) == []


def test_no_metric_has_a_retired_word() -> None:
    page = (TOP / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page))
    assert len(names) > 30
    assert {name for name in names if retired(name.removesuffix("_total"))} == set()


def test_no_setting_has_a_retired_word() -> None:
    names = [name for name, _ in variables()]
    assert "DAEMON_PORT" in names and [name for name in names if retired(name.lower())] == []


def test_a_retired_word_is_found_in_every_style_of_name() -> None:
    assert [retired(name) for name in ("_bell_at", "BellRinger", "LAST_BELL", "write_trouble")] == [
        "notification", "notification", "notification", "write_health",
    ]  # fmt: skip
    assert [retired(name) for name in ("string", "bring", "clear", "label", "sealed", "spend_trouble")] == [None] * 6
