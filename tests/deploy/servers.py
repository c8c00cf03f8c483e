"""Stand-ins for the servers' images: this machine's own PostgreSQL, Redis, RabbitMQ, Prometheus, over the base.

They take what compose.yaml gives them: the same variables, volumes and commands as the official ones.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from testkit.images import docker
from testkit.images.docker import Trouble
from testkit.needs import find
from tests.deploy.images import base, by_one_process, hashed

POSTGRES_ENTRYPOINT = """#!/bin/sh
set -eu
mkdir -p "$PGDATA" /run/postgresql
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA" /run/postgresql && chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups --inh-caps=-all "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres >/dev/null
fi
exec "$@"
"""

#: The one script by three names: as root it becomes rabbitmq, as `server` it takes the variables of the official image.
RABBITMQ_ENTRYPOINT = r"""#!/bin/sh
set -eu
export HOME=/var/lib/rabbitmq
if [ "$(id -u)" = 0 ]; then
    chown rabbitmq /var/lib/rabbitmq
    exec setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups --inh-caps=-all "$0" "$@"
fi
name=$(basename "$0")
if [ "$name" = rabbitmq-server ]; then
    export RABBITMQ_LOGS=-
    printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\n' \
        "$RABBITMQ_DEFAULT_USER" "$RABBITMQ_DEFAULT_PASS" >/etc/rabbitmq/rabbitmq.conf
fi
exec "/usr/lib/rabbitmq/bin/$name" "$@"
"""


def postgres() -> str:
    """In place of postgres:17-alpine; whichever version this machine has."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        raise Trouble("there is no PostgreSQL here; on Debian: apt-get install postgresql")
    home = found[-1].parents[1]
    trees = [home, Path("/usr/share/postgresql") / home.name, Path("/usr/share/zoneinfo")]
    return _made(
        "postgres",
        [*(home / "bin").iterdir(), *(home / "lib").glob("*.so"), _found("setpriv", "util-linux")],
        trees,
        {"usr/local/bin/entrypoint": POSTGRES_ENTRYPOINT},
        "RUN echo 'postgres:x:70:70::/var/lib/postgresql:/bin/sh' >>/etc/passwd && echo 'postgres:x:70:' >>/etc/group",
        f"ENV PATH={home}/bin:$PATH PGDATA=/var/lib/postgresql/data",
        "STOPSIGNAL SIGINT",
        "VOLUME /var/lib/postgresql/data",
        'ENTRYPOINT ["entrypoint"]',
        """CMD ["postgres", "-c", "listen_addresses=*"]""",
    )


def redis() -> str:
    """In place of redis:8-alpine."""
    programs = [_found(name, "redis-server") for name in ("redis-server", "redis-cli")]
    return _made(
        "redis", programs, [], {},
        "RUN mkdir /data", "WORKDIR /data", "USER 65534", 'CMD ["redis-server", "--protected-mode", "no"]',
    )  # fmt: skip


def rabbitmq() -> str:
    """In place of rabbitmq:4-alpine; whichever version this machine has."""
    erlang, home = Path("/usr/lib/erlang"), Path("/usr/lib/rabbitmq")
    if not home.exists():
        raise Trouble("there is no RabbitMQ here; on Debian: apt-get install rabbitmq-server")
    machine = [path for path in erlang.glob("erts-*/bin/*") if path.read_bytes()[:4] == b"\x7fELF"]
    names = ("rabbitmq-server", "rabbitmqctl", "rabbitmq-diagnostics")
    return _made(
        "rabbitmq",
        [*machine, *erlang.rglob("*.so"), _found("setpriv", "util-linux")],
        [erlang, home],
        {f"usr/local/bin/{name}": RABBITMQ_ENTRYPOINT for name in names},
        "RUN echo 'rabbitmq:x:100:101::/var/lib/rabbitmq:/bin/sh' >>/etc/passwd && echo 'rabbitmq:x:101:' >>/etc/group"
        " && mkdir -p /etc/rabbitmq /var/lib/rabbitmq && chown 100:101 /etc/rabbitmq /var/lib/rabbitmq",
        f"ENV PATH={erlang}/bin:$PATH LANG=C.UTF-8",
        "VOLUME /var/lib/rabbitmq",
        'CMD ["rabbitmq-server"]',
    )


def prometheus() -> str:
    """In place of prom/prometheus."""
    return _made(
        "prometheus", [_found(name, "prometheus") for name in ("prometheus", "promtool")], [], {},
        "RUN mkdir -p /prometheus && chown 65534:65534 /prometheus",
        "USER 65534", "WORKDIR /prometheus", "VOLUME /prometheus", 'ENTRYPOINT ["prometheus"]',
    )  # fmt: skip


MAKERS: dict[str, Callable[[], str]] = {
    "postgres": postgres, "redis": redis, "rabbitmq": rabbitmq, "prometheus": prometheus,
}  # fmt: skip


def _found(program: str, package: str) -> Path:
    where = find(program)
    if where is None:
        raise Trouble(f"there is no {program} here; on Debian: apt-get install {package}")
    return Path(where)


@by_one_process
def _made(name: str, programs: Iterable[Path], trees: Iterable[Path], files: dict[str, str], *lines: str) -> str:
    """An image of programs with their libraries, of whole directories and of texts; `lines` of its Dockerfile."""
    programs, tag = list(programs), f"taskdaemon-test/{name}:1"
    # By what is in them: the same package, installed anew, has other times.
    looks = (f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(programs))
    recipe = hashed(base(), docker.recipe_of(base()) or "", Path(__file__).read_bytes(), *looks)
    if docker.recipe_of(tag) == recipe:
        return tag
    with tempfile.TemporaryDirectory(prefix="taskdaemon-image-") as scratch:
        root = Path(scratch) / "root"
        for tree in trees:
            shutil.copytree(tree, _inside(root, tree), dirs_exist_ok=True, symlinks=True)
        for path in sorted({*programs, *_libraries(programs)}):
            _copy(path, root)
        for place, text in files.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text)
            (root / place).chmod(0o755)
        texts = [f"FROM {base()}", "COPY root /", *lines, f"LABEL {docker.LABEL}={recipe}"]
        (Path(scratch) / "Dockerfile").write_text("\n".join(texts) + "\n")
        docker.run("build", "-q", "--network=none", "-t", tag, scratch)
    return tag


def _libraries(programs: Iterable[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
    return {Path(found) for found in re.findall(r"(?:=> |^\t)(/\S+) \(", said, re.MULTILINE)}


def _copy(path: Path, root: Path) -> None:
    place = _inside(root, path)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def _inside(root: Path, path: Path) -> Path:
    # /lib and /bin are links to what is in /usr, and a copy must not put directories in their place.
    parts = path.parts[1:]
    return root.joinpath(*(("usr", *parts) if parts[0] in ("lib", "lib64", "bin", "sbin") else parts))
