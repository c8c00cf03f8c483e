"""Resources that must not grow: sampled every few seconds, compared at the end."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg

from testkit.process import children
from testkit.servers.postgresql import Postgres
from tests.chaos.scene import Scene

SAMPLE_SECONDS = 5.0
WINDOW_SECONDS = 60.0
#: The allowed growth over the second minute's median: this part, and this much in addition.
ALLOWED_PART = 0.10
ALLOWED_SLACK = {"fds": 8, "threads": 4, "MB": 8, "connections": 4, "shims": 2, "engine MB": 24}

Series = Mapping[str, Sequence[tuple[float, float]]]


class Sampler:
    """Samples the first node and the first web server, the database and the engine.

    A soak does not kill these two: a restarted process shows no leak.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._began = time.monotonic()
        self._over = threading.Event()
        self._series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            at = time.monotonic() - self._began
            for name, value in self._sample().items():
                self._series[name].append((at, value))

    def _sample(self) -> dict[str, float]:
        scene, found = self._scene, dict[str, float]()
        node, web = scene.nodes[0].pid, scene.webs[0].pid
        serving = children(web)[:1] if web else []
        for name, pid in (("node", node), *(("web", pid) for pid in serving)):
            if pid is not None:
                with suppress(OSError):
                    found |= {f"{name} {what}": value for what, value in of_process(pid).items()}
        if isinstance(scene.database, Postgres):
            with suppress(psycopg.Error):
                (row,) = scene.database.rows("SELECT count(*) AS n FROM pg_stat_activity WHERE client_port IS NOT NULL")
                found["database connections"] = float(row["n"])
        if scene.engine is not None:
            shims, megabytes = of_engine(scene.engine.home)
            found |= {"engine shims": shims, "engine engine MB": megabytes}
        return found

    def evaluate(self) -> tuple[list[str], list[str]]:
        """A table of medians by minute, and a sentence for every resource that has grown."""
        return table(self._series), grown(self._series)


def of_process(pid: int) -> dict[str, float]:
    """Open files, threads and resident megabytes of a process. Raises OSError if it has ended."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "fds": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        "threads": float(status["Threads"]),
        "MB": float(status["VmRSS"].split()[0]) / 1024,
    }


def of_engine(home: Path) -> tuple[float, float]:
    """The number of an engine's containerd-shims, and the megabytes of dockerd and containerd."""
    shims, megabytes = 0, 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, KeyError):
            command = (entry / "cmdline").read_bytes()
            if str(home).encode() in command:
                if b"containerd-shim" in command.split(b"\0")[0]:
                    shims += 1
                elif b"unshare" not in command.split(b"\0")[0]:
                    megabytes += of_process(int(entry.name))["MB"]
    return float(shims), megabytes


def medians(points: Sequence[tuple[float, float]]) -> dict[int, float]:
    """The median of each minute (0 is the first)."""
    minutes: dict[int, list[float]] = defaultdict(list)
    for at, value in points:
        minutes[int(at // WINDOW_SECONDS)].append(value)
    return {minute: statistics.median(values) for minute, values in sorted(minutes.items())}


def grown(series: Series) -> list[str]:
    """A sentence for each series whose later minutes exceed the second one by more than is allowed.

    It compares the median of the last five minutes, because a fault may fill one of them.
    """
    found = []
    for name, points in series.items():
        by_minute = medians(points)
        if 1 not in by_minute:
            continue
        late = [value for minute, value in by_minute.items() if minute >= 2][-5:]
        slack = next(value for kind, value in reversed(ALLOWED_SLACK.items()) if name.endswith(kind))
        limit = by_minute[1] * (1 + ALLOWED_PART) + slack
        if late and statistics.median(late) > limit:
            found.append(
                f"{name}: {statistics.median(late):g} at the end, {by_minute[1]:g} in the second minute"
                f" (at most {limit:g}: 10 % and {slack} more)"
            )
    return found


def table(series: Series) -> list[str]:
    """A line for each series with its median in each minute."""
    width = max(map(len, series), default=0)
    return [
        f"{name:{width}}  " + " ".join(f"{value:.0f}" for value in medians(points).values())
        for name, points in sorted(series.items())
    ]
