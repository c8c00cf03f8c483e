"""What is wrong, in sentences that a person can act on."""

from __future__ import annotations

from tasks_app import conf
from tasks_app.broker import bell
from tasks_app.metrics.figures import Figures, HandlerFigures
from tasks_app.write_trouble import write_trouble

#: Longest text that is taken over from elsewhere, in characters.
LONGEST = 300
#: Seconds that a reading takes on no database that is well: it is some milliseconds of work.
SLOW = 1.0


def problems(figures: Figures) -> list[str]:
    """Everything that is wrong with the system, as this process sees it; empty when nothing is."""
    refused = write_trouble.problem
    found = [problem for problem in (refused, _slow(figures)) if problem]
    if not figures.nodes:
        found.append("no worker can note that it lives" if refused else _nobody(figures))
    for name, age in ({} if refused else figures.silent).items():
        found.append(_silent(name, age, bool(figures.nodes)))
    for node in figures.nodes:
        found += [f"node {node.name}: {problem}" for problem in node.problems]
    for name, one in figures.handlers.items():
        found += [_about(name, problem) for problem in one.problems]
        if one.pending and figures.nodes and not one.slots:
            found.append(_unserved(name, one))
    return found + _versions(figures) + _broker()


def span(seconds: float) -> str:
    """A duration for people, of two digits or so."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _slow(figures: Figures) -> str | None:
    if figures.seconds < SLOW:
        return None
    return f"the database is slow: these figures took {figures.seconds:.1f} s to read; everything that asks it waits"


def _silent(name: str, age: float, others: bool) -> str:
    then = "other nodes take its tasks over" if others else "its tasks wait for a worker that lives"
    return f"node {name} has not been heard of for {span(age)}: {then}"


def _nobody(figures: Figures) -> str:
    oldest = max((one.oldest for one in figures.handlers.values()), default=0.0)
    waits = f"; {_tasks(figures.queue_size)} now, the oldest for {span(oldest)}" if figures.queue_size else ""
    return f"no worker lives: tasks are accepted and wait{waits}"


def _tasks(count: int) -> str:
    return "1 task waits" if count == 1 else f"{count} tasks wait"


def _unserved(name: str, one: HandlerFigures) -> str:
    oldest = f", the oldest for {span(one.oldest)}" if one.ready else ""
    return f"handler {name}: no living worker serves it; {_tasks(one.pending)}{oldest}"


def _about(name: str, problem: str) -> str:
    text = problem[:LONGEST]
    return text if text.startswith(f"handler '{name}'") else f"handler '{name}': {text}"


def _versions(figures: Figures) -> list[str]:
    """Nodes that run different handlers.toml, or one that is not ours. A draining node is leaving anyway."""
    by: dict[str, list[str]] = {}
    for node in figures.nodes:
        if node.digest and not node.draining:
            by.setdefault(node.digest, []).append(node.name)
    if len(by) > 1:
        which = "; ".join(f"{digest[:8]} on {', '.join(names)}" for digest, names in sorted(by.items()))
        return [f"the nodes run different versions of handlers.toml: {which}"]
    if by and (ours := conf.handlers().digest) not in by:
        return [
            f"the nodes run another version of handlers.toml ({next(iter(by))[:8]}) than this web server ({ours[:8]}): "
            "restart whichever is older"
        ]
    return []


def _broker() -> list[str]:
    if problem := bell.stats().problem:
        return [f"the broker takes no bells ({problem[:LONGEST]}): workers find tasks by polling, up to a second later"]
    return []
