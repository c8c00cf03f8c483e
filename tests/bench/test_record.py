"""The record of a run, and the table, charts and documents that are made from it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from rich.console import Console

from bench import docs, record, runner, table
from bench.goals import GOALS, met, reached
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


def test_a_system_may_lack_a_figure():
    measures = {key: Figure(key, "tasks/s", "more") for key in ("rate", "tenth")}
    entry = ran(Row("drain", "A title", measures, lambda scene: [system("RQ", 1.0, 2.0)]))
    assert entry["systems"]["RQ"]["values"] == {"rate": [1.0, 2.0]}
    jsonschema.validate(record_of(drain=entry), SCHEMA)


def test_a_row_may_take_fewer_repetitions():
    assert ran(row(system("a", 1.0, 2.0), repeats=1), 4)["systems"]["a"]["values"]["rate"] == [1.0]


def test_more_repetitions_are_added_to_those_of_the_same_commit():
    first, second = ran(row(system("a", 1.0, 2.0))), ran(row(system("a", 3.0), Contestant("b", "", broken)), 1)
    both = record.more(first, second)
    assert both["systems"]["a"]["values"]["rate"] == [1.0, 2.0, 3.0]
    assert list(both["faults"]) == ["b"]
    jsonschema.validate(record_of(drain=both), SCHEMA)


def test_a_fault_in_either_run_leaves_no_result():
    first, second = ran(row(system("a", 1.0, 2.0))), ran(row(Contestant("a", "", broken)), 1)
    assert record.more(first, second)["systems"]["a"]["values"] == {}


def test_repetitions_of_another_commit_are_not_added():
    first = ran(row(system("a", 1.0, 2.0)))
    with pytest.raises(SystemExit, match="nothing was added"):
        record.more(first | {"commit": "1234567"}, first)


def test_the_picture_is_svg_and_shows_each_result():
    made = record_of(drain=ran(row(system("ours: <x>", 4000.0, 5000.0), system("Huey", 10.0, 10.0))))
    words = [text for one in ElementTree.fromstring(picture(made)).iter() for text in [one.text] if text]
    assert {"ours: <x>", "Huey", "4,500  (n = 2)"} <= set(words)


def test_the_picture_shows_the_drain_beside_a_held_snapshot():
    held = {"rate": Figure("rate", "tasks/s", "more"), "held": Figure("held", "tasks/s", "more")}
    one = Contestant("ours: x", "says", lambda: {"rate": 1.0, "held": 3000.0})
    made = record_of(snapshot=ran(Row("snapshot", "A title", held, lambda scene: [one])))
    words = [text for each in ElementTree.fromstring(picture(made)).iter() for text in [each.text] if text]
    assert {"ours: x", "3,000  (n = 2)"} <= set(words)
    assert not any("against one without" in text for text in words), "a title without bars"


def test_the_table_has_median_range_and_n():
    screen = Console(file=io.StringIO(), width=120)
    table.show(screen, ran(row(system("ours: x", 10.0, 20.0), Contestant("RQ", "", broken))))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "n = 2, median (range)" in text
    assert "15.0 (10.0 - 20.0)" in text
    assert "no result for RQ: BadRun: a reply was wrong" in text


def test_goals_are_compared_with_the_measurements():
    made = record_of(
        drain=ran(
            row(system("ours: SQLite, no broker", 90.0, 90.0), system("Celery on Redis, as it comes", 10.0, 10.0))
        )
    )
    found = {goal.what: reached(goal, made) for goal in GOALS}
    embedded = next(goal for goal in GOALS if goal.what.startswith("drain embedded"))
    assert found[embedded.what] == 9.0 and met(embedded, 9.0) and not met(embedded, 7.9)
    assert [what for what, value in found.items() if value is not None] == [embedded.what]


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


def test_a_wide_table_says_below_it_how_each_system_was_run():
    figures = {str(n): Figure(f"figure {n}", "ms", "less") for n in range(7)}
    one = Contestant("ours: x", "two nodes", lambda: dict.fromkeys(figures, 1.0))
    text = docs.tables(record_of(drain=ran(Row("drain", "A title", figures, lambda scene: [one]))), None)
    assert "| figure 6, ms | 1.00 (1.00 - 1.00) |\n\n- ours: x: two nodes\n" in text


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
