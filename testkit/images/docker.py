"""Calls the `docker` command for the tests: asks which images the engine has, and makes and removes them."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from pathlib import Path

from testkit.needs import find

LABEL = "taskdaemon-test.recipe"


class Trouble(Exception):
    """An image cannot be made; the message says why, and what would help."""


def run(*arguments: str, stdin: bytes | None = None) -> str:
    """Run `docker ARGUMENTS` and return its output. Raises Trouble with its error output."""
    docker = find("docker")
    if docker is None:
        raise Trouble("there is no `docker` command; on Debian: apt-get install docker-cli docker-buildx")
    completed = subprocess.run([docker, *arguments], input=stdin, capture_output=True)
    output = completed.stdout.decode(errors="replace").strip()
    if completed.returncode:
        error = completed.stderr.decode(errors="replace").strip() or output
        raise Trouble(f"docker {arguments[0]}: {error[-2000:]}")
    return output


def fault() -> str | None:
    """Why no engine answers; None if one does."""
    try:
        run("version", "--format", "{{.Server.Version}}")
    except Trouble as trouble:
        return " ".join(str(trouble).split())
    return None


def recipe_of(tag: str) -> str | None:
    """The recipe that the image was made from; "" if the tests did not make it, None if there is no such image."""
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


def remove(image: str) -> None:
    """Remove an image by its id or tag. If a container still uses it, it stays."""
    with contextlib.suppress(Trouble):
        run("image", "rm", image)


def load(tar: Path, tag: str, recipe: str, *changes: str) -> None:
    """Make an image of one layer from a tar, and apply these lines of a Dockerfile."""
    options = [word for change in (f"LABEL {LABEL}={recipe}", *changes) for word in ("--change", change)]
    run("import", *options, str(tar), tag)


def build(context: Path, tag: str, bases: dict[str, str], recipe: str = "") -> None:
    """Run `docker build` on a directory, with the images in `bases` in place of its FROM names: nothing is fetched."""
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
