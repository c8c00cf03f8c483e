"""The record of a run, and the documents that are made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench import docs, record, runner
from bench.picture import chart, picture
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.servers import TOP, Servers
from bench.system import BadRun

SCHEMA = json.loads((Path(__file__).parent / "record.schema.json").read_text())


def row(*contestants: Contestant, name: str = "drain", repeats: int = 100) -> Row:
    return Row(name, "A title", {"rate": Figure("rate", "tasks/s", "more")}, lambda scene: list(contestants), repeats)


def system(name: str, *rates: float) -> Contestant:
    values = list(rates)
    return Contestant(name, "says", lambda: {"rate": values.pop(0)})


def broken() -> dict[str, float]:
    raise BadRun("a reply was wrong")


def ran(one: Row, repeats: int = 2) -> dict[str, Any]:
    with Servers() as servers:
        return runner.run(one, Scene(servers), repeats, lambda said: None)


def record_of(**rows: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "rows": rows}


def test_a_record_fits_its_schema_and_is_read_back(tmp_path: Path):
    made = record_of(drain=ran(row(system("ours: x", 2.0, 3.0), Contestant("Huey", "", broken))))
    jsonschema.validate(made, SCHEMA)
    record.save(made, tmp_path / "figures.json")
    assert record.load(tmp_path / "figures.json") == made


def test_a_run_with_an_error_gives_no_result_and_the_others_continue():
    calls = [1.0]

    def once() -> dict[str, float]:
        if not calls:
            raise BadRun("the second time")
        return {"rate": calls.pop()}

    entry = ran(row(system("ours: x", 2.0, 3.0), Contestant("RQ", "", once)))
    assert entry["systems"]["ours: x"]["values"] == {"rate": [2.0, 3.0]}
    assert entry["systems"]["RQ"]["values"] == {}
    assert "the second time" in entry["faults"]["RQ"]


def test_repetitions_are_interleaved_and_each_begins_with_another_system():
    order: list[str] = []

    def note(name: str) -> Contestant:
        def measure() -> dict[str, float]:
            order.append(name)
            return {"rate": 1.0}

        return Contestant(name, "", measure)

    ran(row(note("a"), note("b"), note("c")), 3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]


def test_a_fault_in_either_run_leaves_no_result():
    first, second = ran(row(system("a", 1.0, 2.0))), ran(row(Contestant("a", "", broken)), 1)
    assert record.more(first, second)["systems"]["a"]["values"] == {}


def test_repetitions_of_another_commit_are_not_added():
    first = ran(row(system("a", 1.0, 2.0)))
    with pytest.raises(SystemExit, match="nothing was added"):
        record.more(first | {"commit": "1234567"}, first)


def test_the_goals_are_written_between_their_marks_and_the_tables_as_a_page(tmp_path: Path):
    page = tmp_path / docs.PAGE
    page.write_text(f"before\n{docs.BEGIN}\nold\n{docs.END}\nafter\n")
    made = record_of(drain=ran(row(system("ours: x", 10.0, 20.0))))
    docs.write(made, None, tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{docs.BEGIN}\n") and text.endswith(f"{docs.END}\nafter\n")
    assert "| pickup p50, embedded | <= 2.00 ms | no result |  |" in text and "old" not in text
    assert "| ours: x | 15.0 (10.0 - 20.0) | says |" in (tmp_path / docs.TABLES).read_text()
    docs.write(made, None, tmp_path)
    assert page.read_text() == text
    assert json.loads((tmp_path / docs.DATA).read_text())["figures"] == made


def test_quick_runs_are_not_documented(tmp_path: Path):
    made = record_of(drain=ran(row(system("ours: x", 10.0, 20.0))) | {"quick": True})
    with pytest.raises(SystemExit, match="quick runs of drain"):
        docs.write(made, None, tmp_path)


def test_short_ramps_are_not_documented(tmp_path: Path):
    made = record_of(drain=ran(row(system("ours: x", 10.0, 20.0))))
    with pytest.raises(SystemExit, match="steps of 3 s"):
        docs.write(made, {"seconds": 3.0}, tmp_path)


def test_the_documents_are_up_to_date():
    kept = json.loads((docs.DOCS / docs.DATA).read_text())
    figures = kept["figures"]
    jsonschema.validate(figures, SCHEMA)
    text = (docs.DOCS / docs.PAGE).read_text().split(docs.BEGIN)[1].split(docs.END)[0]
    assert text.strip() == docs.goals(figures).strip(), 'make bench ARGS="--docs"'
    assert (docs.DOCS / docs.TABLES).read_text() == docs.tables(figures, kept["ramp"]), 'make bench ARGS="--docs"'
    assert (docs.DOCS / "images" / "drain.svg").read_text() == chart(figures), 'make bench ARGS="--docs"'
    assert (docs.DOCS / "images" / "performance.svg").read_text() == picture(figures), 'make bench ARGS="--docs"'
    day = figures["rows"]["drain"]["at"][:10]
    assert f"Measured on {day} " in (TOP / "README.md").read_text()
