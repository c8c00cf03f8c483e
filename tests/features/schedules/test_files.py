"""`[schedules.NAME]` of handlers.toml: faults with their lines, and whose file counts while nodes are replaced."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks_app import conf
from tasks_app.conf.watching import RevisionInForce
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.jobs import (
    WriteFile,
    differing_files,
    remove_gone,
    taken,
    write_file,
    write_missing,
)
from tasks_app.features.schedules.models import Firing, Schedule, Source
from tasks_app.features.schedules.verbs import pause, remove, write
from tasks_app.handlers.handlers_toml import Defaults, Handlers, HandlersError, load
from tasks_app.queue.current import writing
from tasks_app.queue.node_models import Node, WebProcess
from testkit.rows import node
from tests.features.schedules.kit import ALICE, now, schedule

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

HANDLER = '[handlers.echo]\ncommand = ["python"]\n'


def file(folder: Path, **schedules: str) -> Handlers:
    """A file with these schedules of `echo`."""
    tables = "".join(f'[schedules.{name}]\ntype = "echo"\n{keys}\n' for name, keys in schedules.items())
    path = folder / "handlers.toml"
    path.write_text(HANDLER + tables)
    return load(path, Defaults())


def lives(name: str, handlers: Handlers) -> Node:
    """A node that uses this file, and has written its schedules."""
    Node.objects.filter(pk=name).delete()
    row = node(name, revision=RevisionInForce(handlers.revision, handlers.digest)._asdict())
    write_file(handlers, name)
    return row


def ends(row: Node) -> None:
    Node.objects.filter(pk=row.pk).update(stopped_at=row.seen_at)
    look_twice()


def look_twice() -> None:
    remove_gone(remove_gone(set()))


def serves(name: str, handlers: Handlers, seconds_ago: float = 0.0) -> None:
    """A web process that uses this file, has written its schedules, and has written its row so long ago."""
    used = RevisionInForce(handlers.revision, handlers.digest)._asdict()
    at = now() - timedelta(seconds=seconds_ago)
    WebProcess.objects.update_or_create(
        name=name, defaults={"lock_domain": "x", "seen_at": at, "revision": used, "revision_at": at}
    )
    write_file(handlers, name)


def defined() -> dict[str, Any]:
    return {row.pk: row.definition.get("cron", row.definition.get("every")) for row in Schedule.objects.all()}


def test_each_fault_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(HandlersError) as refused:
        file(tmp_path, a='cron = "0 0 6 * * *"\npriority = 500', b='every = "1h"\ntmezone = "UTC"')
    assert [fault.split(" must")[0] for fault in refused.value.faults] == [
        "handlers.toml:5: [schedules.a]: cron",
        "handlers.toml:6: [schedules.a]: priority",
        'handlers.toml:10: [schedules.b]: unknown field "tmezone"; the fields are '
        + refused.value.faults[2].partition("the fields are ")[2],
    ]
    (tmp_path / "handlers.toml").write_text(HANDLER + 'schedules = 5\n[schedule.x]\ntype = "echo"\n')
    with pytest.raises(HandlersError, match=r"did you mean \[schedules.NAME\]"):
        load(tmp_path / "handlers.toml", Defaults())


def test_the_revision_of_the_file_follows_its_schedules_but_not_what_nodes_run(tmp_path: Path) -> None:
    plain, one, other = file(tmp_path), file(tmp_path, a='every = "1h"'), file(tmp_path, a='every = "2h"')
    assert len({plain.revision, one.revision, other.revision}) == 3
    assert plain.digest == one.digest == other.digest
    assert file(tmp_path, a='every = "1h"\noverlap = "allow"').revision == one.revision


def test_nodes_that_are_replaced_forth_and_back_leave_what_their_files_have(tmp_path: Path) -> None:
    old, new = file(tmp_path, a='every = "1h"', b='every = "1h"'), file(tmp_path, a='every = "2h"', c='every = "1h"')
    first, second = lives("one", old), lives("two", old)
    revisions = dict(Schedule.objects.values_list("pk", "revision"))
    assert defined() == {"a": "1h", "b": "1h"} and set(revisions.values()) == {1}
    ends(first)
    first = lives("one", new)
    assert defined() == {"a": "2h", "b": "1h", "c": "1h"}, "the newest write wins; b is of a node that lives"
    look_twice()
    ends(second)
    assert defined() == {"a": "2h", "c": "1h"}
    second = lives("two", new)
    assert Schedule.objects.get(pk="a").revision == 2, "the same definition again changes nothing"
    ends(first)
    first = lives("one", old)
    assert defined() == {"a": "1h", "b": "1h", "c": "1h"}
    ends(second)
    assert defined() == {"a": "1h", "b": "1h"}
    ends(first)
    assert defined() == {"a": "1h", "b": "1h"}, "no node lives: nobody says that they are gone"


def test_nothing_is_removed_while_the_file_of_a_node_is_not_known(tmp_path: Path) -> None:
    row = lives("one", file(tmp_path, a='every = "1h"'))
    earlier = node("earlier", revision=None)
    lives("two", file(tmp_path))
    ends(row)
    assert defined() == {"a": "1h"}
    ends(earlier)
    assert defined() == {}


def test_a_pause_and_the_ledger_outlast_a_change_of_the_file(tmp_path: Path) -> None:
    lives("one", file(tmp_path, a='every = "1h"'))
    pause("a", ALICE)
    lives("one", file(tmp_path, a='every = "2h"'))
    row = Schedule.objects.get()
    assert (row.definition["every"], row.next_at, row.paused_by) == ("2h", None, "alice")


def test_a_name_is_the_apis_or_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule("a", every="5h")
    handlers = file(tmp_path, a='every = "1h"')
    monkeypatch.setattr(conf, "handlers", lambda: handlers)
    lives("one", handlers)
    assert defined() == {"a": "5h"}
    assert taken()[0].startswith("schedule 'a' of handlers.toml is not used")
    look_twice()
    write_missing(handlers, "one")
    with writing():
        write("a", Definition.of({"type": "echo", "every": "1h"}), Source.FILE, "one")
    assert defined() == {"a": "5h"} and not Firing.objects.exists()
    remove("a", ALICE)
    write_missing(handlers, "one")
    assert defined() == {"a": "1h"} and taken() == []


def test_a_node_writes_what_is_missing_and_no_older_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = file(tmp_path, a='every = "1h"', b='every = "1h"'), file(tmp_path, a='every = "2h"')
    monkeypatch.setattr(conf, "handlers", lambda: old)
    job = WriteFile("one")
    job.run()
    lives("two", new)
    Schedule.objects.filter(pk="b").delete()
    monkeypatch.setattr(job, "_look_at", 0.0)
    job.run()
    assert defined() == {"a": "2h", "b": "1h"}


def test_a_node_writes_its_file_when_it_starts_and_when_it_has_changed_and_never_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = file(tmp_path, a='every = "1h"'), file(tmp_path, a='every = "2h"')
    monkeypatch.setattr(conf, "handlers", lambda: old)
    job = WriteFile("one")
    job.run()
    assert defined() == {"a": "1h"}
    lives("two", new)
    job.run()
    assert defined() == {"a": "2h"}
    monkeypatch.setattr(conf, "handlers", lambda: new)
    job.run()
    monkeypatch.setattr(conf, "handlers", lambda: old)
    job.run()
    assert defined() == {"a": "1h"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_the_file_of_a_web_process_counts_while_it_lives(tmp_path: Path) -> None:
    serves("web", file(tmp_path, a='every = "1h"'))
    row = lives("one", file(tmp_path, b='every = "1h"'))
    look_twice()
    assert defined() == {"a": "1h", "b": "1h"}
    ends(row)
    assert defined() == {"a": "1h"}
    serves("web", file(tmp_path, a='every = "2h"', c='every = "1h"'))
    assert defined() == {"a": "2h", "c": "1h"}
    lives("one", file(tmp_path, c='every = "1h"'))
    serves("web", file(tmp_path, a='every = "2h"'), seconds_ago=60.0)
    look_twice()
    assert defined() == {"c": "1h"}


def test_a_schedule_is_removed_only_if_it_was_gone_at_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, none = file(tmp_path, a='every = "1h"'), file(tmp_path)
    monkeypatch.setattr(conf, "handlers", lambda: none)
    job = WriteFile("web")
    serves("web", none)
    serves("other", both, seconds_ago=60.0)  # as after an outage of the database
    job._remove_gone()
    serves("other", both)
    job._remove_gone()
    WebProcess.objects.filter(pk="other").delete()
    job._remove_gone()
    assert defined() == {"a": "1h"}
    job._remove_gone()
    assert defined() == {}


def test_health_names_processes_whose_files_define_a_schedule_differently(tmp_path: Path) -> None:
    old, new = file(tmp_path, a='every = "1h"', b='every = "1h"'), file(tmp_path, a='every = "2h"', b='every = "1h"')
    serves("web", old, seconds_ago=8.0)
    row = lives("one", old)
    assert differing_files() == []
    Node.objects.filter(pk=row.pk).delete()
    lives("two", new)
    Node.objects.update(revision_at=now() - timedelta(seconds=8))
    (said,) = differing_files()
    assert said.startswith("processes define the schedule 'a' differently (") and "'b'" not in said
    assert f"{old.revision} on web server web" in said and f"{new.revision} on node two" in said
    Node.objects.update(revision_at=now())
    assert differing_files() == [], "a reload is under way"
