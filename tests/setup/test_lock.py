"""requirements.lock: what `bin/bootstrap` installs, on every Python that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
LOCK = (TOP / "requirements.lock").read_text()
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def asked_for() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]]


def locked(python: str, system: str = "linux") -> dict[str, Requirement]:
    """By name, what the lock installs on this Python."""
    # pip's continuation lines joined: one entry a line, the hashes at its end.
    entries = LOCK.replace("\\\n", " ").splitlines()
    requirements = [Requirement(entry.split(" --hash=")[0].strip()) for entry in entries if entry.strip()]
    where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(where)
    }


def test_the_lock_has_no_address_and_names_no_registry():
    assert not re.search(r"://|^\s*-|\bindex\b|\bfind-links\b", re.sub(r"^ +--hash=", "", LOCK, flags=re.M), flags=re.M)


def test_every_entry_of_the_lock_is_one_exact_version_with_hashes():
    for entry in LOCK.replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry), entry[:80]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_covers_what_the_project_asks_for(python: str):
    have = locked(python)
    for wanted in asked_for():
        found = have.get(canonicalize_name(wanted.name))
        assert found is not None, f"{wanted.name} is not in the lock: make lock"
        (exact,) = found.specifier
        assert wanted.specifier.contains(exact.version), f"{wanted} against {exact}: make lock"


def test_the_pythons_tested_here_are_those_that_the_project_allows():
    allowed = PROJECT["project"]["requires-python"]
    assert allowed == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].split('.')[1]) + 1}"
