"""python -m testkit.images: makes the test images that the engine does not have yet; says what took how long.

--official-names: also gives them the names that the examples' Dockerfiles begin FROM (python:3.13-slim, ...), where
the engine has no such image, so that `docker build examples/handlers/...` works where no registry can be reached.
Without it nothing is left in the engine that could be taken for an official image.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from testkit.images import docker
from testkit.images.docker import Trouble
from testkit.images.recipes import STAND_INS, images, make


def ensure() -> None:
    """See to it that the three images are there, and are what their recipes say. One process at a time."""
    if reason := docker.fault():
        raise Trouble(f"no Docker engine answers: {reason}")
    with (Path(tempfile.gettempdir()) / f"taskdaemon-images.{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for image in images():
            if docker.recipe_of(image.tag) == image.recipe:
                print(f"{image.tag}: there")
                continue
            began, before = time.monotonic(), docker.identity(image.tag)
            with tempfile.TemporaryDirectory(prefix="taskdaemon-image-") as scratch:
                make(image, Path(scratch))
            if before:
                docker.remove(before)
            print(f"{image.tag}: made in {time.monotonic() - began:.0f} s", flush=True)


def official_names() -> None:
    """Tag the stand-ins as what they stand in for, unless the engine has the real ones (or anything else) there."""
    for name, ours in STAND_INS.items():
        there = docker.recipe_of(name)
        if there == "":
            print(f"{name}: the engine has one that is not ours; left alone")
        else:
            docker.run("tag", ours, name)
            print(f"{name}: is {ours}")


def main(words: list[str]) -> int:
    if words not in ([], ["--official-names"]):
        print(__doc__)
        return 2
    try:
        ensure()
        if words:
            official_names()
    except Trouble as trouble:
        print(f"testkit.images: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
