"""Whether each idempotency key stands for one request, and each answer to it names the same task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos.evidence import Evidence


def key_faults(evidence: Evidence) -> Iterator[str]:
    """A sentence for each answer that names another task than the first, or does not say what it repeats.

    That a request makes one task, however often it is sent, is what `posts` checks.
    """
    answers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in evidence.lines("accepted"):
        if "key" in line:
            answers[line["key"]].append(line)
    for key, lines in answers.items():
        requests: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for line in lines:
            requests[line["n"]].append(line)
        for n, those in requests.items():
            if len(tasks := list(dict.fromkeys(line["task"] for line in those))) > 1:
                yield f"{key}: post {n} was answered with {tasks}"
            if any(not line["replayed"] for line in those[1:]):
                yield f"{key}: a repeat of post {n} was not answered as one"
            if those[0]["replayed"] and those[0]["tries"] == 1:
                yield f"{key}: post {n} was answered as a repeat, and was sent for the first time"
        if len({evidence.posts[n]["request"] for n in requests}) > 1:
            yield f"{key}: two requests were accepted with it, the posts {sorted(requests)}"
