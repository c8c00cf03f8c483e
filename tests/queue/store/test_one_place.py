"""Only queue/ asks which database it is and sends SQL; only queue/ and db/ know what one database needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
#: Rooms with what a database needs. A migration may need another statement on each database.
ROOMS = {"queue", "db", "migrations"}
#: What only those rooms import.
OF_A_DATABASE = (
    "tasks_app.queue.postgresql", "tasks_app.queue.sqlite", "tasks_app.db.postgresql", "tasks_app.db.sqlite", "sqlite3",
    "psycopg",
)  # fmt: skip
#: The one module that asks.
CHOOSES = "tasks_app/queue/current.py"


def of_a_database(name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in OF_A_DATABASE)


def faults(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a module that know a database, and how."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="vendor"):
                yield node.lineno, "asks .vendor"
            case ast.Constant(value="vendor" | "ENGINE" as word):
                yield node.lineno, f"asks {word}"
            case ast.Constant(value=str(name)) if of_a_database(name):
                yield node.lineno, f"names {name}"
            case ast.Attribute(attr="execute", value=ast.Call(func=ast.Name(id="Manage" | "super"))):
                pass  # a command of manage.py
            case ast.Attribute(attr="cursor" | "execute" | "executemany"):
                yield node.lineno, "sends SQL"
            case ast.Import(names=names) if any(of_a_database(one.name) for one in names):
                yield node.lineno, "imports"
            case ast.ImportFrom(module=str(module), names=names):
                if any(of_a_database(f"{module}.{one.name}") or of_a_database(module) for one in names):
                    yield node.lineno, "imports"


def modules(*roots: str) -> list[Path]:
    return [path for root in roots for path in sorted((PROJECT / root).rglob("*.py"))]


def test_no_other_room_asks_which_database_it_is() -> None:
    files = [path for path in modules("tasks_app", "taskdaemon_site") if not ROOMS & {*path.relative_to(PROJECT).parts}]
    assert len(files) > 100
    found = [(str(path.relative_to(PROJECT)), *fault) for path in files for fault in faults(path.read_text())]
    assert found == []


def test_of_the_store_and_below_one_module_asks() -> None:
    asks = {
        str(path.relative_to(PROJECT))
        for path in modules("tasks_app/queue", "tasks_app/db")
        for _, fault in faults(path.read_text())
        if fault.startswith("asks .vendor")
    }
    assert asks == {CHOOSES}


def test_only_what_chooses_a_database_imports_one() -> None:
    files = [
        path
        for path in modules("tasks_app/queue", "tasks_app/db")
        if not {"postgresql", "sqlite"} & {*path.relative_to(PROJECT).parts}
    ]
    imports = {
        str(path.relative_to(PROJECT)) for path in files for _, fault in faults(path.read_text()) if fault == "imports"
    }
    assert imports == {CHOOSES}
