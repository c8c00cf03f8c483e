"""The file of writes that SQLite has not yet put into the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tasks_app.queue.settings import MAX_WAL_BYTES, SQLITE_OPTIONS


def connected(file: Path) -> closing[sqlite3.Connection]:
    """A connection with the pragmas of ours."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.executescript(SQLITE_OPTIONS["init_command"])
    return closing(connection)


def test_the_wal_shrinks_once_what_kept_it_has_ended(tmp_path: Path) -> None:
    file, wal = tmp_path / "tasks.sqlite3", tmp_path / "tasks.sqlite3-wal"
    with connected(file) as writer:
        writer.execute("CREATE TABLE written (bytes)")
        with connected(file) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM written").fetchone()
            for _ in range(3):
                writer.execute("INSERT INTO written VALUES (zeroblob(?))", (MAX_WAL_BYTES,))
            assert wal.stat().st_size > 3 * MAX_WAL_BYTES
        for _ in range(3):  # puts it into the database, begins it anew, cuts it
            writer.execute("INSERT INTO written VALUES (1)")
        assert wal.stat().st_size <= MAX_WAL_BYTES
