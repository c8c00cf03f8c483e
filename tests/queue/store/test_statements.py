"""`statements.sql` of each database has each statement as it is sent.

After a change of a statement: REWRITE=1 pytest tests/queue/store/test_statements.py
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.queue.store.statements import PURPOSES, QUEUE, page

pytestmark = pytest.mark.parametrize("database", list(PURPOSES))
#: The functions that send their first argument.
SENDERS = {"prepared", "read", "execute", "executemany", "_insert_events"}
#: A local name in which a statement, listed itself, is passed on: of the function that sends it, and of a claim.
PASSED_ON = {"statement", "best"}


def test_the_file_has_each_statement_as_it_is_sent(database: str) -> None:
    file = QUEUE / database / "statements.sql"
    if os.environ.get("REWRITE"):
        file.write_text(page(database))
    assert file.read_text() == page(database), (
        f"{file.name} of {database} is not what is sent: REWRITE=1 pytest tests/queue/store/test_statements.py"
    )


def test_each_statement_that_is_sent_has_a_purpose(database: str) -> None:
    listed = {(module, name) for module, names in PURPOSES[database].items() for name in names}
    found = {pair for path in sorted((QUEUE / database).glob("*.py")) for pair in sent(path)}
    assert found - listed == set(), "name its purpose in tests/queue/store/statements.py"
    assert listed - found <= {("claim", "best_of_type")}, "nothing sends it"


def sent(path: Path) -> Iterator[tuple[str, str]]:
    """The statements that a module sends: the module that has each, and its name."""
    tree = ast.parse(path.read_text())
    home = {
        alias.name: node.module.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in SENDERS:
            continue
        first = node.args[0]
        for one in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
            name = named(one)
            assert name, f"{path.name}:{one.lineno}: a statement is sent that has no name"
            if name not in PASSED_ON or isinstance(one, ast.Call):
                yield home.get(name, path.stem), name


def named(node: ast.expr) -> str:
    """The name of a statement: a constant, a template, or a function that makes it. Blank: none has it."""
    match node:
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")):
            return name
    return ""
