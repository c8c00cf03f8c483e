"""A new handlers.toml is taken while the process runs: whole, once it is written to its end, and never with a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_app import conf
from tasks_app.conf import watching
from tasks_app.conf.reading import read_handlers
from tasks_app.conf.watching import REMOVAL_SECONDS, Watcher
from tasks_app.handlers.handlers_toml import Handlers, file_stat

ONE = '[handlers.one]\ncommand = ["python", "one.py"]\ntimeout = 10\n'
BOTH = ONE + '[handlers.two]\ncommand = ["python", "two.py"]\n'
LONGER = BOTH.replace("timeout = 10", "timeout = 20")


class Watched:
    """A watcher whose looks are called by hand, in a folder that has handlers.toml."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "handlers.toml"
        self.now = 0.0
        self.told: list[tuple[Handlers, Handlers]] = []
        self.replaced: list[str] = []
        self.watcher = Watcher(lambda: self.now)
        self.watcher._told = lambda old, new: self.told.append((old, new))
        self.watcher._replace = self.replaced.extend

    def look(self, times: int = 1, seconds: float = 0.5) -> None:
        for _ in range(times):
            self.now += seconds
            self.watcher.check()

    def reload(self, *replace: str) -> None:
        self.watcher.ask(7, replace)
        self.watcher.reload(self.watcher._asked.get())

    def timeout(self) -> float:
        return conf.handlers()["one"].timeout


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("print()\n")
    made = Watched(tmp_path)
    made.file.write_text(BOTH)
    monkeypatch.setenv("HANDLER_CONFIG", str(made.file))
    conf.environment.cache_clear()
    conf.forget_handlers()
    conf.handlers()
    made.look()
    yield made
    monkeypatch.undo()
    conf.environment.cache_clear()
    conf.forget_handlers()


def in_place(file: Path, text: str) -> None:
    with file.open("r+") as there:  # keeps the inode, as for a single file that is mounted
        there.truncate()
        there.write(text)


def by_rename(file: Path, text: str) -> None:
    draft = file.with_name(".draft")
    draft.write_text(text)
    draft.replace(file)


def removed_and_back(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


@pytest.mark.parametrize("write", [in_place, by_rename, removed_and_back])
def test_a_written_file_is_taken_whole_at_the_second_look(write: Callable[[Path, str], None], watched: Watched) -> None:
    before = conf.handlers()
    write(watched.file, LONGER)
    watched.look()
    assert conf.handlers() is before
    watched.look()
    assert watched.timeout() == 20
    assert before["one"].timeout == 10, "a revision never changes"
    assert watched.told == [(before, conf.handlers())]
    assert watched.watcher.state().revision == conf.handlers().revision != before.revision


def test_a_link_that_leads_elsewhere_is_followed_as_kubernetes_changes_a_config_map(watched: Watched) -> None:
    folder = watched.file.parent
    watched.file.unlink()
    for name, text in (("v1", BOTH), ("v2", LONGER), ("v3", LONGER)):
        (folder / name).mkdir()
        (folder / name / "handlers.toml").write_text(text)
    (folder / "..data").symlink_to("v1")
    watched.file.symlink_to("..data/handlers.toml")
    watched.look(2)
    for version in ("v2", "v3"):  # the third has the same text: only the folder of its commands is another one
        (folder / "draft").symlink_to(version)
        (folder / "draft").rename(folder / "..data")
        watched.look(2)
        assert (watched.timeout(), conf.handlers()["one"].cwd) == (20, folder / version)


def test_a_file_is_not_taken_before_it_is_written_to_its_end(watched: Watched) -> None:
    for length in range(0, len(LONGER), 20):
        in_place(watched.file, LONGER[:length])
        watched.look()
    assert (watched.timeout(), watched.told) == (10, [])
    in_place(watched.file, LONGER)
    watched.look(2)
    assert watched.timeout() == 20


def test_two_writes_of_the_same_size_within_a_tick_of_the_clock_are_both_seen(watched: Watched) -> None:
    in_place(watched.file, LONGER)
    watched.look(2)
    in_place(watched.file, LONGER.replace("20", "30"))
    # A coarse clock gives the second write the same times.
    watched.watcher._stats = {path: file_stat(path) for path in conf.handlers().files}
    watched.look(2)
    assert watched.timeout() == 30


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "handlers.toml:1: [handlers]: has no handler"),
        (LONGER.replace("20", '"20"'), "handlers.toml:3: [handlers.one] timeout: '20' is not a number"),
        (LONGER + "x = [", "handlers.toml:6: is not TOML"),
        (None, "/"),
    ],
)
def test_a_fault_changes_nothing_and_is_told_with_its_line_until_the_file_is_right(
    text: str | None, fault: str, watched: Watched
) -> None:
    before = conf.handlers()
    watched.file.unlink() if text is None else in_place(watched.file, text)
    watched.look()
    assert watched.watcher.problem() is None
    watched.look(40)
    assert conf.handlers() is before
    assert watched.told == []
    assert (watched.watcher.problem() or "").startswith(f"the new handlers.toml is not used: {fault}")
    assert text is not None or "cannot be read: No such file or directory" in (watched.watcher.problem() or "")
    watched.reload()
    assert watched.watcher.state().fault == watched.watcher.problem() is not None
    watched.file.write_text(LONGER)
    watched.look(2)
    assert (watched.timeout(), watched.watcher.problem()) == (20, None)


def test_a_file_that_is_as_before_again_has_no_fault_and_is_no_change(watched: Watched) -> None:
    in_place(watched.file, "broken")
    watched.look(2)
    in_place(watched.file, f"# a comment\n{BOTH}")
    watched.look(2)
    assert (watched.watcher.problem(), watched.told) == (None, [])
    in_place(watched.file, "broken")
    watched.look(2)
    in_place(watched.file, BOTH)
    watched.reload()
    assert watched.watcher.problem() is None


def test_a_file_that_lacks_a_handler_is_taken_after_ten_seconds_and_at_once_if_that_is_asked(watched: Watched) -> None:
    in_place(watched.file, ONE)
    watched.look(2)
    watched.look(int(REMOVAL_SECONDS) - 1, seconds=1)
    assert set(conf.handlers()) == {"one", "two"}
    watched.look(seconds=1)
    assert set(conf.handlers()) == {"one"}
    in_place(watched.file, BOTH)
    watched.look(2)
    assert set(conf.handlers()) == {"one", "two"}
    in_place(watched.file, ONE)
    watched.reload()
    assert set(conf.handlers()) == {"one"}


def test_a_saved_file_is_told_of_by_a_process_that_runs_tasks_alone(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=watching.__name__)
    for told, lines in ((watched.watcher._told, 1), (watching._nothing, 0)):
        watched.watcher._told = told
        caplog.clear()
        (watched.file.parent / "two.py").write_text(f"print({lines})\n")
        watched.look(3)
        assert caplog.text.count("runs its saved files") == lines, caplog.text


def test_a_saved_file_of_a_command_is_a_change_of_its_handler_alone(watched: Watched) -> None:
    (watched.file.parent / "two.py").write_text("print(2)\n")
    watched.look(2)
    ((old, new),) = watched.told
    assert (new["one"], new.digest) == (old["one"], old.digest)
    assert new["two"].sources != old["two"].sources
    assert new.revision != old.revision


def test_a_reload_of_an_unchanged_file_is_told_and_names_what_is_replaced(watched: Watched) -> None:
    watched.reload("two")
    assert watched.told == [(conf.handlers(), conf.handlers())]
    assert watched.replaced == ["two"]
    assert watched.watcher.state().reload == 7


def test_a_file_that_is_written_again_while_it_is_read_has_no_fault_that_stays(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_half_written() -> Handlers:
        in_place(watched.file, LONGER[:-10])
        try:
            return read_handlers()
        finally:
            in_place(watched.file, LONGER)

    for ask in (watched.look, watched.reload):
        in_place(watched.file, LONGER)
        watched.look()
        with monkeypatch.context() as patched:
            patched.setattr(watching, "read_handlers", read_half_written)
            ask()
        watched.look(2)
        assert (watched.timeout(), watched.watcher.problem()) == (20, None)


def test_what_is_asked_meanwhile_is_one_reload(watched: Watched) -> None:
    for _ in range(1000):
        watched.watcher.look()
    watched.watcher.ask(3, ["one"], quiet=True)
    watched.watcher.ask(4, ["two"])
    asked = watched.watcher._next()
    assert asked is not None
    assert (asked.number, set(asked.replace), asked.quiet) == (4, {"one", "two"}, False)
    assert watched.watcher._asked.empty()
