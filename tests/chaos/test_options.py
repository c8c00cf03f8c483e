"""Options that contradict each other are refused."""

from __future__ import annotations

import pytest

from tests.chaos.options import read


def test_a_snapshot_can_be_held_on_postgresql_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(["--snapshot", "--database", "postgres"]).snapshot
    with pytest.raises(SystemExit):
        read(["--snapshot"])
    assert "--snapshot needs --database postgres" in capsys.readouterr().err
