"""Every promise of store.py has a test that names its number."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tasks_app.queue.store import Store

NUMBER = re.compile(r"^ +(\d+)\. ", re.MULTILINE)


def test_each_promise_has_a_test_and_each_number_is_a_promise() -> None:
    promised = [int(number) for number in NUMBER.findall(inspect.getsource(Store))]
    assert promised == [*range(1, len(promised) + 1)] and len(promised) >= 30
    names = [
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def test_(\d+(?:_and_\d+)*)_", path.read_text(), re.MULTILINE)
    ]
    assert {int(number) for name in names for number in name.split("_and_")} == set(promised)
