"""The table of README.md beside this: each fault names tests, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TOP = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("README.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> dict[str, list[tuple[str, str]]]:
    """The tests of each fault: file and name."""
    cells = [
        line.strip("|").split(" | ") for line in TABLE.read_text().splitlines() if re.match(r"\| (?!fault \|)", line)
    ]
    assert all(len(row) == 3 for row in cells), [row for row in cells if len(row) != 3]
    return {row[0].strip(): NAMED.findall(row[2]) for row in cells}


@cache
def in_file(file: str) -> set[str]:
    tree = ast.parse((TOP / file).read_text()) if (TOP / file).exists() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_each_fault_names_tests_that_exist() -> None:
    table = rows()
    assert len(table) > 40
    assert [fault for fault, named in table.items() if not named] == [], "no test is named"
    missing = [f"{file}::{name}" for named in table.values() for file, name in named if name not in in_file(file)]
    assert missing == [], "there are no such tests"


def test_each_test_of_this_folder_is_in_the_table() -> None:
    listed = {name for named in rows().values() for _, name in named}
    here = [
        f"{path.name}::{name}"
        for path in sorted(TABLE.parent.glob("test_*.py"))
        if path.name != Path(__file__).name
        for name in sorted(in_file(str(path.relative_to(TOP))))
        if name not in listed
    ]
    assert here == [], "a fault that is thrown belongs into the table"
