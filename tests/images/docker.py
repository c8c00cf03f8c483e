"""The `docker` command, as the tests' own hand: what the engine has, and what goes into it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from pathlib import Path

LABEL = "taskdaemon-test.recipe"


class Trouble(Exception):
    """An image cannot be made; the message says why, and what would help."""


def run(*words: str, feed: bytes | None = None) -> str:
    """`docker WORDS`; its output. Raises Trouble with what it said."""
    try:
        done = subprocess.run(["docker", *words], input=feed, capture_output=True)
    except FileNotFoundError:
        raise Trouble("there is no `docker` command; on Debian: apt-get install docker-cli docker-buildx") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        raise Trouble(f"docker {words[0]}: {said[-2000:]}")
    return done.stdout.decode(errors="replace").strip()


def fault() -> str | None:
    """Why no engine answers, or None."""
    try:
        run("version", "--format", "{{.Server.Version}}")
    except Trouble as trouble:
        return " ".join(str(trouble).split())
    return None


def recipe_of(tag: str) -> str | None:
    """The recipe that the image was made from; empty if it is somebody else's, None if there is none."""
    try:
        return run("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', tag)
    except Trouble:
        return None


def identity(tag: str) -> str | None:
    """The id of the image that has this tag, or None."""
    try:
        return run("image", "inspect", "--format", "{{.Id}}", tag)
    except Trouble:
        return None


def forget(image: str) -> None:
    """Remove an image (its id) that has lost its tag. If a container still has it, it stays."""
    with contextlib.suppress(Trouble):
        run("image", "rm", image)


def load(tar: Path, tag: str, recipe: str, *changes: str) -> None:
    """Make an image of one layer, with these lines of a Dockerfile over it."""
    words = [word for change in (f"LABEL {LABEL}={recipe}", *changes) for word in ("--change", change)]
    run("import", *words, str(tar), tag)


def build(context: Path, tag: str, bases: dict[str, str], recipe: str = "") -> None:
    """`docker build` of a directory whose FROM names are taken from `bases`: nothing is fetched from anywhere."""
    contexts = [word for name, base in bases.items() for word in ("--build-context", f"{name}=docker-image://{base}")]
    labels = ["--label", f"{LABEL}={recipe}"] if recipe else []
    run("build", "--quiet", "--network=none", "--tag", tag, *contexts, *labels, str(context))


def add(tar: tarfile.TarFile, name: str, content: bytes | str, mode: int = 0o644) -> None:
    """Put a file into a tar."""
    data = content.encode() if isinstance(content, str) else content
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Put a symbolic link into a tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def add_directory(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    """Put a directory into a tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)
