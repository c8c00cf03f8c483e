"""Compares this checkout with another commit, in pairs of runs one right after the other, and that commit with itself.

    python -m bench.pairs v1.4                              drain, pickup, post and latency; 10 pairs, latency 5
    python -m bench.pairs HEAD~8 drain --n 6 --only SQLite  one row, some of the systems
    python -m bench.pairs HEAD~8 --json FILE                go on with the pairs of FILE, if there are some

A ratio above 1 says that this checkout is better: more tasks a second, or less time. The commit is checked out twice,
and the ratios of its two checkouts, the control, show what the machine alone does to a ratio: if the control's median
lies outside 0.97 to 1.03, the row does not count and is to be repeated. All run with this checkout's libraries.
Uncommitted changes are measured too. The exit status is 1 if a row that counts is below 0.97, or has no pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.numbers import lower_bound
from bench.servers import TOP

#: The rows, each with the figure that decides, and how many pairs are enough unless `--n` says so.
ROWS = {"drain": ("rate", 10), "pickup": ("p50", 5), "post": ("executed", 10), "latency": ("80_p50", 5)}
LEAST, CONTROL = 0.97, (0.97, 1.03)
NEW, BASE, TWIN = "new", "base", "twin"

Runs = dict[str, dict[str, list[dict[str, Any]]]]
"""By row and checkout: the entries of the record (see `bench.record`), each of one repetition."""


def main() -> int:
    """Measure and print. Returns 0 if no row that counts is below the bound."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pairs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", help="what this checkout is compared with")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(ROWS)} (default: all)")
    parser.add_argument("--n", type=int, help="pairs")
    parser.add_argument("--only", action="append", metavar="TEXT", help="systems of ours with this in their name")
    parser.add_argument("--quick", action="store_true", help="small counts: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keeps the runs")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    only = options.only or ["ours"]
    words = [word for text in only for word in ("--only", text)] + (["--quick"] if options.quick else [])
    runs: Runs = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    below = False
    with checkouts(options.commit) as places:
        for row in options.rows or list(ROWS):
            found = runs.setdefault(row, {name: [] for name in places})
            for number in range(options.n or ROWS[row][1]):
                _measure(row, number, places, words, found)
                if options.json:
                    options.json.write_text(json.dumps(runs))
            below |= show(row, found)
    return 1 if below else 0


@contextmanager
def checkouts(commit: str) -> Iterator[dict[str, Path]]:
    """This checkout, and two temporary ones of a commit."""
    with tempfile.TemporaryDirectory(prefix="bench-pairs-") as folder:
        places = {NEW: TOP, BASE: Path(folder) / BASE, TWIN: Path(folder) / TWIN}
        for name in (BASE, TWIN):
            _git("worktree", "add", "--quiet", "--detach", str(places[name]), commit)
        try:
            yield places
        finally:
            for name in (BASE, TWIN):
                _git("worktree", "remove", "--force", str(places[name]))


def _git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=TOP, check=True)


def _measure(
    row: str, number: int, places: dict[str, Path], words: Sequence[str], found: dict[str, list[dict[str, Any]]]
) -> None:
    """One repetition in each checkout, each time in another order. One that fails is left out, and said."""
    names = list(places)
    entries = {}
    for name in names[number % len(names) :] + names[: number % len(names)]:
        print(f"{row} {number + 1}  {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            to = Path(folder) / "figures.json"
            command = [sys.executable, "-m", "bench", row, "--n", "1", "--json", str(to), *words]
            ran = subprocess.run(
                command, cwd=places[name], env={**os.environ, "PYTHONPATH": str(places[name])}, capture_output=True,
                text=True,
            )  # fmt: skip
            entry = json.loads(to.read_text())["rows"][row] if to.exists() else {"faults": {"": ran.stderr[-600:]}}
        for system, fault in entry["faults"].items():
            print(f"{row} {number + 1}  {name}: no figure of {system or 'this run'}: {fault}", file=sys.stderr)
        entries[name] = entry
    if not any(entry["faults"] for entry in entries.values()):
        for name, entry in entries.items():
            found[name].append(entry)


def show(row: str, found: dict[str, list[dict[str, Any]]]) -> bool:
    """Print a row's ratios. Returns whether one that counts is below the bound."""
    below = False
    if not found[NEW]:
        print(f"{row}: no pair")
        return True
    for system in found[NEW][0]["systems"]:
        for key, figure in found[NEW][0]["figures"].items():
            values = {name: [one["systems"][system]["values"][key][0] for one in found[name]] for name in found}
            new, control = (ratios(values[name], values[BASE], figure["better"]) for name in (NEW, TWIN))
            line = f"{row:8} {system:38} {figure['label']:26} {described(new)}; control {described(control)}"
            if key == ROWS[row][0]:
                counts = CONTROL[0] <= statistics.median(control) <= CONTROL[1]
                good = statistics.median(new) >= LEAST
                below |= counts and not good
                line += f"  {'BELOW' if counts and not good else 'good' if counts else 'DOES NOT COUNT'}"
            print(line, flush=True)
    return below


def ratios(values: Sequence[float], base: Sequence[float], better: str) -> list[float]:
    """How many times better each value is than the one of its pair."""
    pairs = zip(values, base, strict=True)
    return [(mine / other) if better == "more" else (other / mine) for mine, other in pairs]


def described(found: Sequence[float]) -> str:
    """Median, range, and the bound that the median exceeds with 95 % confidence."""
    bound = lower_bound(found)
    least = "" if bound is None else f", at least {bound:.3f}"
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f}{least}; {len(found)} pairs)"


if __name__ == "__main__":
    sys.exit(main())
