"""Injects random faults, chosen by a seed, and logs each."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path

from tests.chaos.catalogue import catalogue
from tests.chaos.fault import Fault, Throw
from tests.chaos.scene import Scene


class Storm:
    """Injects faults while `run` runs, and heals them before it returns.

    Each kind comes once, in random order, before any comes again; the victim is random. `thrown` counts by kind;
    `failed`: faults that could not be injected or healed, which is an error of the chaos itself; `windows`: the
    name of each fault, and from when to when it lasted; `victims`: whom it hit, likewise.
    """

    def __init__(self, scene: Scene, log: Path) -> None:
        options = scene.options
        self._apart, self._longest = options.apart, options.longest
        self._chance = random.Random(options.seed)
        self._kinds: dict[str, list[Fault]] = {}
        for fault in catalogue(scene):
            self._kinds.setdefault(fault.name, []).append(fault)
        self._deck: list[str] = []
        self._log = log
        self._lock = threading.Lock()
        self._hurt: dict[str, threading.Thread] = {}
        self._over = threading.Event()
        self.thrown: Counter[str] = Counter()
        self.failed: list[str] = []
        self.windows: list[tuple[str, float, float]] = []
        self.victims: list[tuple[str, float, float]] = []

    def run(self, seconds: float) -> None:
        """Inject faults for `seconds`."""
        until = time.monotonic() + seconds
        while self._kinds and (remaining := until - time.monotonic()) > 0:
            time.sleep(min(self._chance.uniform(0.3, 1.7) * self._apart, remaining))
            if time.monotonic() < until:
                self._throw()
        self._over.set()
        for thread in list(self._hurt.values()):
            thread.join(120)
            if thread.is_alive():
                self.failed.append(f"{thread.name} has not ended")

    def _throw(self) -> None:
        if not self._deck:
            self._deck = self._chance.sample(sorted(self._kinds), len(self._kinds))
        fault = self._chance.choice(self._kinds[self._deck.pop()])
        throw = Throw(random.Random(self._chance.random()), self._hold, self._longest)
        if (before := self._hurt.get(fault.victim)) is not None and before.is_alive():
            return  # another fault still hits it
        self.thrown[fault.name] += 1
        thread = threading.Thread(target=self._one, args=(fault, throw), name=fault.name, daemon=True)
        self._hurt[fault.victim] = thread
        thread.start()

    def _one(self, fault: Fault, throw: Throw) -> None:
        began = time.time()
        try:
            what = fault.throw(throw)
        except Exception as error:
            what = f"FAILED: {error!r}"
            with self._lock:
                self.failed.append(f"{fault.name}: {error!r}")
        ended = time.time()
        line = {"at": began, "until": ended, "fault": fault.name, "what": what}
        with self._lock, self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")
            self.windows.append((fault.name, began, ended))
            self.victims.append((fault.victim, began, ended))

    def _hold(self, seconds: float) -> bool:
        return self._over.wait(seconds)
