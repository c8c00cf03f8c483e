"""A real worker process on a deployment of its own, for as long as a measurement takes.

python -m bench.node --slots 8 --tasks 10000 [--database-url ...] [--broker ...]     one measurement, as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
HANDLER = """
import sys, time
for line in sys.stdin:
    sys.stdout.write('{"status":"success","result":%.6f}\\n' % time.time())
    sys.stdout.flush()
"""


@contextmanager
def deployment(slots: int, database_url: str | None, broker: str | None) -> Iterator[Path]:
    """A fresh home with one handler `stamp`, whose result is the moment at which it had the line."""
    with tempfile.TemporaryDirectory(prefix="taskdaemon-bench-") as folder:
        home = Path(folder)
        (home / "stamp.py").write_text(HANDLER)
        (home / "handlers.toml").write_text(
            f'[handlers.stamp]\ncommand = ["python", "{home}/stamp.py"]\ninstances = {slots}\n'
        )
        os.environ.update(
            DAEMON_HOME=folder,
            HANDLER_CONFIG=str(home / "handlers.toml"),
            DAEMON_LOG_LEVEL="error",
            DAEMON_SECRET_KEY=secrets.token_urlsafe(48),
            DJANGO_SETTINGS_MODULE="taskdaemon_site.settings",
        )
        for name, value in (("DATABASE_URL", database_url), ("DAEMON_BROKER_URL", broker)):
            os.environ.pop(name, None)
            if value:
                os.environ[name] = value
        yield home


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """One `manage.py worker`, drained at the end."""
    process = subprocess.Popen([sys.executable, str(TOP / "manage.py"), "worker"], cwd=TOP, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def measure(slots: int, tasks: int, singles: int) -> dict[str, float | int]:
    """Pick-up of single tasks on an idle node, then the drain of a backlog. Within `deployment`."""
    import django

    django.setup()
    from django.core.management import call_command

    from tasks_app.lifecycle import NewTask, submit, submit_many
    from tasks_app.metrics.figures import figures
    from tasks_app.models import Attempt, Task

    call_command("migrate", verbosity=0)
    Task.objects.all().delete()
    with worker() as process:
        while (now := figures(0).handlers.get("stamp")) is None or now.warm < slots:
            time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError("the worker ended before it was warm")
        committed = {}
        for _ in range(singles):
            identity = submit("stamp")
            committed[identity] = time.time()
            time.sleep(0.01)
        _until_none_left(Task, process)
        pickups = sorted(
            (float(str(had_line)) - committed[identity]) * 1e3
            for identity, had_line in Task.objects.filter(pk__in=list(committed)).values_list("pk", "result")
        )
        Task.objects.all().delete()
        for start in range(0, tasks, 1000):
            submit_many([NewTask("stamp")] * min(1000, tasks - start))
        _until_none_left(Task, process)
        stamps = [float(str(result)) for result in Task.objects.values_list("result", flat=True)]
        if len(stamps) != tasks or Attempt.objects.count() != tasks:
            raise RuntimeError(f"{len(stamps)} results and {Attempt.objects.count()} attempts of {tasks} tasks")
        # The first batch is claimed while the later ones are still being submitted: count from when all were there.
        last_submit = max(Task.objects.values_list("created_at", flat=True)).timestamp()
        late = [stamp for stamp in stamps if stamp >= last_submit]
        return {
            "slots": slots,
            "tasks": tasks,
            "pickup_p50_ms": round(pickups[len(pickups) // 2], 2),
            "pickup_p99_ms": round(pickups[int(len(pickups) * 0.99)], 2),
            "drain_per_s": round(len(late) / (max(late) - last_submit)),
        }


def _until_none_left(model: type, process: subprocess.Popen[bytes]) -> None:
    while model.objects.exclude(status="completed").exists():  # type: ignore[attr-defined]
        time.sleep(0.05)
        if process.poll() is not None:
            raise RuntimeError("the worker ended before the tasks did")


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--database-url")
    parser.add_argument("--broker")
    options = parser.parse_args()
    with deployment(options.slots, options.database_url, options.broker):
        print(json.dumps(measure(options.slots, options.tasks, options.singles)))


if __name__ == "__main__":
    main()
