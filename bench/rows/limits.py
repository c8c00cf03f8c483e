"""Limits: what they cost against the same without, and whether they hold. `--only` takes parts of the names below."""

from __future__ import annotations

from functools import partial

from bench import limits
from bench.ours import SERVERS
from bench.rows.row import Contestant, Figure, Row, Scene
from bench.served import KINDS


def _contestants(scene: Scene) -> list[Contestant]:
    quick, found = scene.quick, []
    for kind in KINDS:
        drained, hot = (5_000, 4_000) if quick else (50_000, 60_000)
        kept, posted = (20_000, 3.0) if quick else (100_000, 15.0)
        for name, says, measure in (
            ("1,000 keys", f"{drained:,} tasks, one of each key at once",
             partial(limits.many_keys, scene, kind, drained, 1_000)),
            ("8 keys", "one of each key at once, 8 slots, 10 ms of work",
             partial(limits.busy, scene, kind, 800 if quick else 8_000, 0.01)),
            ("a task alone", "one task at a time, an idle system",
             partial(limits.pickup, scene, kind, 50 if quick else 200)),
            ("held tasks", f"plain tasks beside {kept:,} held ones of their type",
             partial(limits.held, scene, kind, kept, 50 if quick else 200)),
            ("a hot key", f"{hot:,} tasks, 8 at once, beside a held snapshot",
             partial(limits.hot_key, scene, kind, hot, ("max_running_per_key = 8",), 1)),
            ("max_running", f"{hot:,} tasks, 8 at once, beside a held snapshot",
             partial(limits.hot_key, scene, kind, hot, ("max_running = 8",), 0)),
            ("a rate and a snapshot", "50 starts a second, beside a held snapshot",
             partial(limits.hot_key, scene, kind, 250 if quick else 6_000, ('rate = "50/s"',), 0)),
            ("POST", f"{limits.PROBES} a second, beside {limits.POSTS:,} a second",
             partial(limits.posts, scene, kind, posted)),
            ("100/m", f"{limits.NODES} nodes", partial(limits.rate, scene, kind, "100/m", 15.0 if quick else 120.0)),
            ("10/s", f"{limits.NODES} nodes", partial(limits.rate, scene, kind, "10/s", 5.0 if quick else 60.0)),
        ):  # fmt: skip
            if scene.wants(full := f"{SERVERS[kind[0]]}: {name}"):
                found.append(Contestant(full, says, measure))
    return found


ROW = Row(
    name="limits",
    title="Limits against the same without",
    measures={
        "without": Figure("drain without keys", "tasks/s", "more"),
        "limited": Figure("drain with keys", "tasks/s", "more"),
        "ratio": Figure("drain with keys against without", "x", "more"),
        "busy_without": Figure("slots at work, without keys", "%", "more"),
        "busy": Figure("slots at work, with keys", "%", "more"),
        "plain": Figure("pickup p50, plain", "ms", "less"),
        "running": Figure("pickup p50, max_running", "ms", "less"),
        "keyed": Figure("pickup p50, limit_key", "ms", "less"),
        "running_ratio": Figure("pickup, max_running against plain", "x", "less"),
        "keyed_ratio": Figure("pickup, limit_key against plain", "x", "less"),
        "pickup_none": Figure("pickup p50 beside no held task", "ms", "less"),
        "pickup": Figure("pickup p50 beside held tasks", "ms", "less"),
        "claim_none": Figure("buffers of a claim beside no held task", "pages", "less"),
        "claim": Figure("buffers of a claim beside held tasks", "pages", "less"),
        "idle_none": Figure("buffers of an idle second beside no held task", "pages", "less"),
        "idle": Figure("buffers of an idle second beside held tasks", "pages", "less"),
        "idle_cpu_none": Figure("CPU of an idle second beside no held task, the node", "ms", "less"),
        "idle_cpu": Figure("CPU of an idle second beside held tasks, the node", "ms", "less"),
        "first": Figure("first fifth", "tasks/s", "more"),
        "last": Figure("last fifth", "tasks/s", "more"),
        "last_ratio": Figure("last fifth against first", "x", "more"),
        "post_without": Figure("POST p95 beside POSTs without a key", "ms", "less"),
        "post": Figure("POST p95 beside POSTs of another key", "ms", "less"),
        "post_ratio": Figure("POST p95, other key against no key", "x", "less"),
        "starts": Figure("starts", "tasks", "more"),
        "most": Figure("most starts in a window, of the limit", "%", "less"),
        "used": Figure("of the rate used while work waited", "%", "more"),
    },
    contestants=_contestants,
    repeats=2,
    usual=False,
)
