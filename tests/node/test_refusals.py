"""When refusals show that a result is at fault, and not the database."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.node.refused_results import MIN_SECONDS, RefusedResult

RESULT: Any = None  # of no account
SHORT, LONG = MIN_SECONDS / 2, MIN_SECONDS + 1


@pytest.mark.parametrize(
    ("sentence", "moments", "proven"),
    [
        ("nothing is proven without a refusal", [], False),
        ("one refusal proves nothing", [0.0], False),
        ("two over a long time prove nothing", [0.0, LONG], False),
        ("three in exactly five minutes prove nothing: the database may have been slow", [0.0, SHORT, 300.0], False),
        ("many in a short time prove nothing", [float(n) for n in range(60)], False),
        ("three over a longer time do", [0.0, SHORT, LONG], True),
        ("those before a database that did not work do not count", [0.0, SHORT, None, LONG], False),
        ("neither does their time", [0.0, None, SHORT, SHORT + 1, LONG], False),
        ("after it three more over a longer time do", [0.0, None, SHORT, LONG, SHORT + LONG], True),
    ],
)  # fmt: skip
def test_case(sentence: str, moments: list[float | None], proven: bool) -> None:
    refused, now = RefusedResult(RESULT, 0.0), 0.0
    for moment in moments:
        if moment is None:
            refused.refusals = 0
        else:
            now = 1000.0 + moment
            refused.add(now)
    assert refused.is_at_fault(now) is proven, sentence
