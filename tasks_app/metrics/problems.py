"""The problems that an operator should know of, in sentences. `/health` lists them; `SystemReading.healthy` decides its
status."""

from __future__ import annotations

from itertools import chain

from tasks_app import conf
from tasks_app.broker import notification
from tasks_app.conf.watching import watcher
from tasks_app.db.write_health import write_health
from tasks_app.handlers.words import moment_text, plural, span
from tasks_app.metrics.reading import HandlerReading
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Drain, HandlerPause
from tasks_app.queue.reloads import differing

#: Characters of a text from a node or the broker that a problem quotes.
MAX_QUOTE_LENGTH = 300
#: A reading takes some milliseconds. From this duration on the database counts as slow.
SLOW_READING_SECONDS = 1.0


def problems(reading: SystemReading) -> list[str]:
    """The problems that an operator should know of, as this process sees them."""
    refused = write_health.problem
    sentences = [problem for problem in (refused, _slow_database(reading), store().problem()) if problem]
    if not reading.nodes:
        sentences.append("no worker can record that it lives" if refused else _no_worker(reading))
    if reading.starting:
        sentences.append("the handlers' first containers are starting: tasks are accepted, and wait for them")
    for node in () if refused else reading.silent:
        sentences.append(_silent_node(node.name, node.age, bool(reading.nodes)))
    faults = _faults(reading)
    for node in reading.nodes:
        sentences += [f"node {node.name}: {problem}" for problem in node.problems if problem not in faults]
        if node.drain is not None:
            sentences.append(f"node {node.name}{_drained(node.drain, reading.running_on(node.name))}")
        for name, drain in node.type_drains.items():
            drained = _drained(drain, reading.running.get((name, node.name), 0), f" for '{name}'")
            sentences.append(f"node {node.name}{drained}")
    for name, handler in reading.handlers.items():
        sentences += [_of_handler(name, problem) for problem in handler.problems]
        if handler.paused is not None:
            sentences.append(_paused(name, handler, handler.paused))
        if handler.pending and reading.nodes and not handler.slots:
            sentences.append(_unserved(name, handler, reading))
    sentences += chain.from_iterable(reading.told.values())
    return sentences + (
        [f"{where}{fault}" for fault, where in faults.items()]
        + _other_platform(reading)
        + _different_versions(reading)
        + _different_images(reading)
        + _broker()
    )


def _slow_database(reading: SystemReading) -> str | None:
    if reading.seconds < SLOW_READING_SECONDS:
        return None
    return f"the database is slow: reading these metrics took {reading.seconds:.1f} s; every query is delayed"


def _silent_node(name: str, age: float, others: bool) -> str:
    then = "other nodes take over its tasks" if others else "its tasks wait for a living worker"
    return f"node {name} has been silent for {span(age)}: {then}"


def _no_worker(reading: SystemReading) -> str:
    oldest = max((handler.oldest for handler in reading.handlers.values()), default=0.0)
    waits = f"; {_tasks(reading.queue_size)} now, the oldest for {span(oldest)}" if reading.queue_size else ""
    return f"no worker lives: tasks are accepted and wait{waits}"


def _tasks(count: int) -> str:
    return f"{count} {plural(count, 'task waits', 'tasks wait')}"


def _unserved(name: str, handler: HandlerReading, reading: SystemReading) -> str:
    oldest = f", the oldest for {span(handler.oldest)}" if handler.ready else ""
    return f"handler {name}: {reading.unserved(name)}; {_tasks(handler.pending)}{oldest}"


def _paused(name: str, handler: HandlerReading, pause: HandlerPause) -> str:
    until = "" if pause.until is None else f", until {moment_text(pause.until)}"
    waits = f"; {_tasks(handler.ready)}" if handler.ready else ""
    since = f"since {moment_text(pause.paused_at)}{until}{_reason(pause.reason)}"
    return f"handler '{name}' is paused by {pause.paused_by} {since}{waits}"


def _drained(drain: Drain, running: int, of_type: str = "") -> str:
    if not drain.noticed:
        state = "it is about to notice"
    elif running:
        state = f"it still runs {running} {plural(running, 'task')}{' of it' if of_type else ''}"
    else:
        state = "it runs none of it" if of_type else "it is empty"
    return f" is drained{of_type} by {drain.by} since {moment_text(drain.at)}{_reason(drain.reason)}: {state}"


def _reason(text: str | None) -> str:
    return f" ({text})" if text else ""


def _of_handler(name: str, problem: str) -> str:
    text = problem[:MAX_QUOTE_LENGTH]
    return text if text.startswith(f"handler '{name}'") else f"handler '{name}': {text}"


def _other_platform(reading: SystemReading) -> list[str]:
    """Nodes that run another version of the platform than this process. Ignores draining nodes."""
    by_version: dict[str, list[str]] = {}
    for node in reading.nodes:
        if node.version != conf.version() and not node.draining:
            by_version.setdefault(node.version or "one that it does not tell", []).append(node.name)
    if not by_version:
        return []
    which = "; ".join(f"{version} on {', '.join(names)}" for version, names in sorted(by_version.items()))
    return [
        f"nodes run another version of the platform ({which}) than this web server ({conf.version()}): restart "
        "whichever is older; an older node ignores what it does not know, such as pauses, drains and operations"
    ]


def _faults(reading: SystemReading) -> dict[str, str]:
    """Why processes do not use the present handlers.toml: each sentence once, naming the processes unless it is this
    process."""
    found: dict[str, list[str]] = {}
    for each in reading.processes:
        if each.used.fault:
            found.setdefault(each.used.fault, []).append(str(each))
    faults = {fault: f"{', '.join(names)}: " for fault, names in found.items()}
    return faults if (ours := watcher.problem()) is None else faults | {ours: ""}


def _different_versions(reading: SystemReading) -> list[str]:
    """Processes with different versions of handlers.toml, for longer than a reload takes. Ignores draining nodes."""
    taking = {node.name for node in reading.nodes if node.taking}
    by_digest = differing(each for each in reading.processes if each.kind == "web" or each.name in taking)
    if not by_digest:
        return []
    which = "; ".join(f"{digest[:8]} on {', '.join(map(str, on))}" for digest, on in sorted(by_digest.items()))
    return [
        f"processes use different versions of handlers.toml: {which}; see that each has the new file: "
        f"{conf.ours('reload')} says what each of them reads"
    ]


def _different_images(reading: SystemReading) -> list[str]:
    """Handlers whose containers have different images, because a tag was rebuilt or pushed. Ignores draining nodes.

    Two engines may give the same build different ids.
    """
    sentences = []
    for name in reading.handlers:
        by_image: dict[str, list[str]] = {}
        for node in reading.nodes:
            for image in node.pools.get(name, {}).get("images", ()) if node.taking else ():
                by_image.setdefault(image, []).append(node.name)
        if len(by_image) > 1:
            which = "; ".join(
                f"{image.removeprefix('sha256:')[:12]} on {', '.join(on)}" for image, on in by_image.items()
            )
            sentences.append(
                f"handler '{name}': its containers run {len(by_image)} versions of its image ({which}): "
                f"{conf.ours('reload')} --handler {name} lets each worker use what the tag is there now"
            )
    return sentences


def _broker() -> list[str]:
    if problem := notification.stats().problem:
        return [
            f"the broker accepts no notifications ({problem[:MAX_QUOTE_LENGTH]}): "
            "workers find tasks by polling, up to a second later"
        ]
    return []
