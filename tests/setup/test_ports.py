"""Ports that tests give to servers."""

from __future__ import annotations

import socket
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from testkit import ports
from testkit.needs import need_shared_memory
from testkit.ports import PORTS, free_port


def some(_: int) -> list[int]:
    return [free_port() for _ in range(50)]


def test_no_two_processes_get_the_same_port() -> None:
    need_shared_memory()
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        given = [port for some_ports in pool.map(some, range(4)) for port in some_ports]
    assert len(set(given)) == len(given)
    assert set(given) <= set(PORTS)


def test_a_port_at_which_a_server_listens_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken = free_port()
    monkeypatch.setattr(ports, "_LAST_GIVEN", tmp_path / "last")
    (tmp_path / "last").write_text(str(taken - 1))
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() > taken
