"""How the three test images are made of what a Debian machine has: no registry of images is asked."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from testkit.images import docker
from testkit.images.docker import Trouble
from testkit.needs import find, whole_path

TOP = Path(__file__).resolve().parents[2]
BUSYBOX, PYTHON, C = "taskdaemon-test/busybox:1", "taskdaemon-test/python:1", "taskdaemon-test/c:1"

STAND_INS = {
    "busybox:1": BUSYBOX, "python:3.13-slim": PYTHON, "gcc:14": PYTHON, "node:24-slim": PYTHON, "golang:1": PYTHON
}  # fmt: skip
"""What the examples' Dockerfiles begin FROM, and what stands in for it here."""

# trixie's Python is 3.13, its gcc 14. Unpacked and not installed: seconds instead of minutes, and enough to run.
SUITE = "trixie"
PACKAGES = "base-files,dash,coreutils,mount,python3-pip,python3-pil,gcc,libc6-dev,nodejs,golang-go"
USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"
# pip would refuse to install beside Debian's packages (the official image, which this stands in for, has none), and it
# does not begin without the certificates that installing their package puts together.
FINISH = (
    'cd "$1" && rm -rf usr/lib/python3*/EXTERNALLY-MANAGED usr/share/doc usr/share/man usr/share/locale '
    "&& cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt"
)


@dataclass(frozen=True)
class Image:
    """One image: its tag, and what it is made from, as a hash."""

    tag: str
    recipe: str


def images() -> tuple[Image, Image, Image]:
    """busybox, Python, C, in the order in which they are made."""
    return (
        Image(BUSYBOX, _hash(Path(__file__).read_bytes(), _busybox().read_bytes())),
        Image(PYTHON, _hash(Path(__file__).read_bytes(), *_sdk().values())),
        Image(C, _hash(*(path.read_bytes() for path in sorted(C_SOURCE.iterdir())))),
    )


def make(image: Image, scratch: Path) -> None:
    """Make it anew. Raises Trouble."""
    {BUSYBOX: _make_busybox, PYTHON: _make_python, C: _make_c}[image.tag](image, scratch / "root.tar")


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:24]


# ---- busybox: one static binary and its names ---------------------------------------------------------------------


def _busybox() -> Path:
    found = find("busybox")
    if found is None:
        raise Trouble("there is no busybox; on Debian: apt-get install busybox-static")
    return Path(found).resolve()


def _make_busybox(image: Image, root: Path) -> None:
    binary = _busybox()
    names = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(root, "w") as tar:
        for name in ("bin", "etc", "root"):
            docker.add_directory(tar, name)
        docker.add_directory(tar, "tmp", 0o1777)
        docker.add(tar, "etc/passwd", USERS)
        docker.add(tar, "etc/group", GROUPS)
        docker.add(tar, "bin/busybox", binary.read_bytes(), 0o755)
        for name in names:
            if name != "busybox":
                docker.add_link(tar, f"bin/{name}", "busybox")
    docker.load(root, image.tag, image.recipe, "ENV PATH=/bin", 'CMD ["sh"]')
    if docker.run("run", "--rm", "--network=none", image.tag, "echo", "works") != "works":
        raise Trouble("this busybox needs libraries; on Debian: apt-get install busybox-static")


# ---- Python, with the SDK and pip; C, Go, Node ----------------------------------------------------------------------


def _sdk() -> dict[str, bytes]:
    """The handler SDK as it is installed beside us, so that `pip install taskdaemon` finds it there."""
    # Not what only tells how it was installed here: it differs by installer, and pip does not ask for it.
    other = ("INSTALLER", "RECORD", "REQUESTED")
    files = metadata.distribution("taskdaemon").files or []
    kept = [file for file in files if "__pycache__" not in file.parts and file.name not in other]
    return {str(file): Path(str(file.locate())).read_bytes() for file in sorted(kept)}


def _make_python(image: Image, root: Path) -> None:
    program = find("mmdebstrap") or "mmdebstrap"
    command = [program, "--quiet", "--variant=extract", f"--include={PACKAGES}", f"--extract-hook={FINISH}"]
    try:
        done = subprocess.run(
            [*command, SUITE, str(root)], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=whole_path()
        )
    except FileNotFoundError:
        raise Trouble("there is no mmdebstrap; on Debian: apt-get install mmdebstrap") from None
    if done.returncode:
        raise Trouble(f"mmdebstrap: {done.stderr.strip()[-2000:]}")
    packages = "usr/local/lib/python3.13/dist-packages"
    with tarfile.open(root, "a") as tar:
        docker.add(tar, "./etc/passwd", USERS)
        docker.add(tar, "./etc/group", GROUPS)
        for name in ("python", "python3"):
            docker.add_link(tar, f"./usr/local/bin/{name}", "/usr/bin/python3")
        for name, content in _sdk().items():
            docker.add(tar, f"./{packages}/{name}", content)
    docker.load(root, image.tag, image.recipe, "ENV PATH=/usr/local/bin:/usr/bin:/bin", 'CMD ["python"]')


# ---- C: the example, as its own Dockerfile makes it -----------------------------------------------------------------

C_SOURCE = TOP / "examples/handlers/prime-c"


def _make_c(image: Image, _: Path) -> None:
    docker.build(C_SOURCE, image.tag, STAND_INS, image.recipe)
