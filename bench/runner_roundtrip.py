"""Round trips a second through warm child processes, without database and broker: `python -m bench.runner_roundtrip`.

One thread takes free slots and runs calls.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call, CallResult
from tasks_app.runner.pool import Pool
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.wire import Success, request_line
from testkit.polled_reactor import PolledReactor
from testkit.process import until

ECHO = (
    "import sys, json\n"
    "for line in sys.stdin:\n"
    " task = json.loads(line)\n"
    " sys.stdout.write(json.dumps({'status': 'success', 'result': {'ok': 1}}) + chr(10)); sys.stdout.flush()\n"
)
TASK_ID = "0191e3a4-0000-7000-8000-000000000000"


def measure(slots: int, calls: int) -> float:
    """Round trips a second."""
    free = threading.Semaphore(0)
    done = threading.Semaphore(0)
    bad: list[CallResult] = []

    def on_done(one: CallResult) -> None:
        if not isinstance(one.outcome, Success):
            bad.append(one)
        done.release()

    handler = Handler(name="bench", command=("python", "-c", ECHO), instances=slots)
    reactor = PolledReactor()
    pool = Pool(handler, ProcessEngine(), reactor, free.release, on_done, ready_after=0.2)
    pool.start()
    try:
        until(lambda: pool.free() == slots)
        started = time.perf_counter()
        for number in range(calls):
            while (slot := pool.take()) is None:
                free.acquire()
            slot.run(Call(request_line(TASK_ID, "bench", '{"n":1}', 1), 30.0, number))
        for _ in range(calls):
            done.acquire()
        seconds = time.perf_counter() - started
    finally:
        pool.close()
        reactor.close()
    assert not bad, bad[0]
    return calls / seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slots", type=int, nargs="+", default=[1, 8])
    options.add_argument("--calls", type=int, default=30_000)
    options.add_argument("--profile", action="store_true", help="profile the thread that runs calls")
    chosen = options.parse_args()
    # As in the node.
    sys.setswitchinterval(0.0005)
    for slots in chosen.slots:
        measure(slots, 1_000)
        profile = cProfile.Profile()
        if chosen.profile:
            profile.enable()
        rate = measure(slots, chosen.calls)
        profile.disable()
        print(f"{slots} slots: {rate:,.0f} round trips/s")
        if chosen.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
