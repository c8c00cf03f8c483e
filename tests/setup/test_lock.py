"""The lock files: what `bin/bootstrap` installs, on every Python that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
#: Of each lock: the groups that it covers.
GROUPS = {
    "requirements.lock": ["dev"],
    "requirements-run.lock": ["run"],
    "requirements-bench.lock": ["dev", "bench"],
    "requirements-image.lock": [],
    "requirements-build.lock": ["build"],
}
LOCKS = {name: (TOP / name).read_text() for name in GROUPS}
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def asked_for(lock: str) -> list[Requirement]:
    lines = [] if "build" in lock else PROJECT["project"]["dependencies"]
    return [Requirement(line) for line in [*lines, *(line for group in GROUPS[lock] for line in members(group))]]


def members(group: str) -> list[str]:
    """What a group of dependencies asks for, and the groups that it includes."""
    entries = PROJECT["dependency-groups"][group]
    return [line for one in entries for line in ([one] if isinstance(one, str) else members(one["include-group"]))]


def locked(lock: str, python: str, system: str = "linux") -> dict[str, Requirement]:
    """By name, what the lock installs on this Python."""
    # pip's continuation lines joined: one entry a line, the hashes at its end.
    entries = LOCKS[lock].replace("\\\n", " ").splitlines()
    requirements = [Requirement(entry.split(" --hash=")[0].strip()) for entry in entries if entry.strip()]
    where = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(where)
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_has_no_address_and_names_no_registry(lock: str):
    text = re.sub(r"^ +--hash=", "", LOCKS[lock], flags=re.M)
    assert not re.search(r"://|^\s*-|\bindex\b|\bfind-links\b", text, flags=re.M)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_the_lock_is_one_exact_version_with_hashes(lock: str):
    for entry in LOCKS[lock].replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry), entry[:80]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_covers_what_the_project_asks_for(lock: str, python: str):
    have = locked(lock, python)
    for wanted in asked_for(lock):
        if wanted.marker is not None and not wanted.marker.evaluate({"python_version": python}):
            assert canonicalize_name(wanted.name) not in have
            continue
        found = have.get(canonicalize_name(wanted.name))
        assert found is not None, f"{wanted.name} is not in the lock: make lock"
        (exact,) = found.specifier
        assert wanted.specifier.contains(exact.version), f"{wanted} against {exact}: make lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_measured_is_what_is_shipped(python: str):
    measured = locked("requirements-bench.lock", python)
    for name, shipped in locked("requirements.lock", python).items():
        assert measured[name].specifier == shipped.specifier, f"{name}: make lock"


@pytest.mark.parametrize("lock", [name for name in LOCKS if "build" not in name])
def test_the_lock_is_for_the_oldest_python_too(lock: str):
    # redis needs it there; a lock made on a newer Python would be without it.
    assert "async-timeout" in locked(lock, "3.11") and "async-timeout" not in locked(lock, "3.12")
