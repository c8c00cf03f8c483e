"""A bare DRF view for comparison: granian with two processes, PostgreSQL, Celery on Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

from bench.http_load import post
from bench.rivals.run import RunningRival
from bench.servers import TOP, Servers
from bench.system import BadRun
from testkit.ports import free_port
from testkit.process import until

SAYS = "granian, 2 processes, on PostgreSQL; Celery on Redis, 2 solo workers, runs a no-op"
_VIEW = "bench.rivals.drf_view"


class Drf:
    """A context: the view, its database and the Celery worker."""

    def __init__(self, servers: Servers) -> None:
        self._celery, self._servers = RunningRival("celery_redis", servers), servers

    def __enter__(self) -> Drf:
        self._database, self._port = self._servers.database(), free_port()
        self._celery.__enter__()
        self._environment = self._celery.environment | {"BENCH_DATABASE_URL": self._database.url}
        self._python("from bench.rivals.drf_view import make_table; make_table()")
        words = ["granian", "--interface", "wsgi", "--workers", "2", "--port", str(self._port), "--no-log"]
        self._server = subprocess.Popen(
            [sys.executable, "-m", *words, f"{_VIEW}:application"], cwd=TOP, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._celery.start()
        self._celery.ready()
        return self

    def __exit__(self, *error: object) -> None:
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._celery.__exit__(*error)
        self._database.drop()

    def measure(self, count: int) -> tuple[list[float], list[float], list[float]]:
        """When each POST began, when it was answered, and when each task ran."""
        until(self._answers, 60, "an answer of the bare view")
        bodies = [json.dumps({"type": "noop", "data": {"n": n}}).encode() for n in range(count + 200)]
        post(self._port, "/queue", bodies[:200]).good()
        answers = post(self._port, "/queue", bodies[200:]).good()
        ran = [stamp for number, stamp in self._celery.stamps(count + 200) if number >= 200]
        rows = int(self._python("from bench.rivals.drf_view import rows; print(rows())"))
        if rows != count + 200:
            raise BadRun(f"the view has {rows} rows of {count + 200}")
        return [one.due for one in answers], [one.answered for one in answers], ran

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/queue", timeout=5)
        except urllib.error.HTTPError:
            return True  # 405 to a GET: the view is up
        except OSError:
            pass
        return False

    def _python(self, source: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", source], cwd=TOP, env=self._environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise BadRun(f"the bare view: {done.stderr[-1500:]}")
        return done.stdout
