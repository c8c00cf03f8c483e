"""python -m tests.deploy.images: the platform's image, and stand-ins for those that compose.yaml names.

No registry of images is asked: the base is Debian's Python, unpacked; a server is what this machine has of it, over
that. Each is made when it is wanted and not there as its recipe says, of what Debian and PyPI have.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from testkit.images import docker
from testkit.images.docker import Trouble
from testkit.kept import KEPT
from testkit.needs import find, whole_path

TOP = Path(__file__).resolve().parents[2]
SUITE = "trixie"
BASE = "taskdaemon-test/slim:1"
PLATFORM = "taskdaemon-test/platform:1"
PACKAGES = "base-files,dash,coreutils,findutils,sed,grep,python3,python3-venv,ca-certificates"
#: Unpacked and not installed, so what installing would have made is made here. A Python as the official image has it.
FINISH = r"""
set -e
cd "$1"
mkdir -p usr/local/bin
rm -rf var/run && ln -s /run var/run
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
"""


P = ParamSpec("P")


def by_one_process(make: Callable[P, str]) -> Callable[P, str]:
    """Let one process at a time call this; others wait, and find what it made."""

    @wraps(make)
    def locked(*args: P.args, **kwargs: P.kwargs) -> str:
        name = f"taskdaemon-images.{os.getuid()}.{make.__name__}.lock"
        with (Path(tempfile.gettempdir()) / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return make(*args, **kwargs)

    return locked


@by_one_process
def base() -> str:
    """What stands in for python:3.13-slim: trixie's Python is 3.13. Its name."""
    recipe = hashed(PACKAGES, FINISH)
    if docker.recipe_of(BASE) != recipe:
        with tempfile.TemporaryDirectory(prefix="taskdaemon-image-") as scratch:
            root = Path(scratch) / "root.tar"
            words = ["--quiet", "--variant=extract", f"--include={PACKAGES}", f"--extract-hook={FINISH}"]
            run("mmdebstrap", *words, SUITE, str(root))
            docker.load(root, BASE, recipe, "ENV PATH=/usr/local/bin:/usr/bin:/bin")
    return BASE


@by_one_process
def wheels() -> str:
    """A directory with what the image's two locks name, for the base's Python. Kept from run to run."""
    locks = [TOP / "requirements-image.lock", TOP / "requirements-build.lock"]
    there = KEPT / f"wheels-{hashed(*(lock.read_bytes() for lock in locks))}"
    if not there.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
            # A pip of its own: uv makes environments without one.
            run(sys.executable, "-m", "venv", f"{scratch}/pip")
            kinds = [f"--platform=manylinux{kind}_x86_64" for kind in ("2014", "_2_28")]
            what = ["--no-deps", "--only-binary=:all:", "--python-version=3.13", *kinds, "--require-hashes"]
            pip = [f"{scratch}/pip/bin/python", "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]
            run(*pip, "download", *what, "-d", f"{scratch}/wheels", *(f"-r{lock}" for lock in locks))
            (Path(scratch) / "wheels").rename(there)
    return str(there)


def strict_copy(to: Path) -> Path:
    """The project as a checkout under a umask of 077 has it."""
    said = run(
        "git", "-c", "safe.directory=*", "-C", str(TOP), "ls-files", "-z", "--cached", "--others", "--exclude-standard"
    )
    for name in filter(None, said.split("\0")):
        if (TOP / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, to / name)
            (to / name).chmod((TOP / name).stat().st_mode & 0o700)
    for folder in [to, *(path for path in to.rglob("*") if path.is_dir())]:
        folder.chmod(0o700)
    return to


def platform(tag: str = PLATFORM, revision: str = "test") -> str:
    """The platform's own image, by its own Dockerfile. Nothing is asked for over the network. Its name."""
    contexts = {"python:3.13-slim": f"docker-image://{base()}", "wheels": wheels()}
    words = [word for name, where in contexts.items() for word in ("--build-context", f"{name}={where}")]
    words += ["--network=none", "-t", tag, "--build-arg", f"REVISION={revision}"]
    with tempfile.TemporaryDirectory(prefix="taskdaemon-image-") as scratch:
        docker.run("build", "-q", *words, str(strict_copy(Path(scratch))))
    return tag


def hashed(*parts: bytes | str) -> str:
    """What is made of these parts, in short: another one is made of others."""
    each = (part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in each)).hexdigest()[:24]


def run(*words: str) -> str:
    """Its output. Raises Trouble with what it said."""
    try:
        done = subprocess.run(
            [find(words[0]) or words[0], *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env=whole_path(),
        )  # fmt: skip
    except FileNotFoundError:
        raise Trouble(f"there is no {words[0]}; on Debian: apt-get install {words[0]}") from None
    if done.returncode:
        raise Trouble(f"{words[0]}: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout


def main() -> int:
    from tests.deploy import servers

    try:
        for what, make in (("base", base), ("wheels", wheels), ("platform", platform), *servers.MAKERS.items()):
            began = time.monotonic()
            print(f"{make()}: {what}, {time.monotonic() - began:.0f} s", flush=True)
    except Trouble as trouble:
        print(f"tests.deploy.images: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
