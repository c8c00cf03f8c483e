"""How many files somebody reads who follows a POST to its settled row, and what docs/how-it-works.md says of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import PROJECT
from testkit.stores import PostgreSQLStore
from tests.way.recording import environment, passed

pytestmark = [pytest.mark.long("a server and a node that are recorded", seconds=20), pytest.mark.one_broker("on Redis")]

PAGE = PROJECT / "docs/how-it-works.md"
MOST = 40


def test_a_post_passes_the_files_that_the_page_names(deployment: Callable[..., Daemon], tmp_path: Path) -> None:
    (tmp_path / "task").touch()
    daemon = deployment(**environment(tmp_path))
    if not isinstance(daemon.store, PostgreSQLStore):
        pytest.skip("on PostgreSQL and Redis")
    daemon.handler("echo", instances=1)
    files, page = set(passed(daemon, tmp_path)), named()
    assert files - set(page) == set(), "the page does not name them"
    assert [file for file in page if file not in files] == [], "the page names them, and no POST passes them"
    assert len(files) <= MOST


def named() -> list[str]:
    """The files of the page's list, in the order of the way."""
    _, _, after = PAGE.read_text().partition("### The files of the way")
    return re.findall(r"^\| `([\w/]+\.py)` \|", after.partition("\n## ")[0], re.MULTILINE)
