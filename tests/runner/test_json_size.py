"""The size that a JSON text has once it is stored."""

from __future__ import annotations

import pytest

from tasks_app.queue.submission import encode
from tasks_app.runner.wire import stored_size


@pytest.mark.parametrize(("text", "size"), [
    ("{}", 2), ('{"ü":"🐢"}', 13), ("1e+308", 309), ("-1e+308", 310), ("1.7976931348623157e+308", 309), ("1e+16", 17),
    ("1.5e+16", 17), ("1.2345678901234567e+16", 17), ("1e-07", 9), ("1.5e-07", 10), ("5e-324", 326), ("-5e-324", 327),
    ("[1e+308,1e-05,12,1.5]", 309 + 7 + 10), ('{"1e+308":"1e+308 \\" 1e+308","a-e-1":1e+20}', 43 + 16),
    ('["550e8400-e29b-41d4-a716-446655440000"]', 40), ('["\\\\",1e+20,"\\\\"]', 17 + 16),
])  # fmt: skip
def test_an_exponent_counts_as_all_its_digits_and_a_string_as_itself(text: str, size: int) -> None:
    assert stored_size(text) == size


def test_above_its_limit_a_size_is_not_counted_to_the_end() -> None:
    numbers = encode([1e308] * 100_000)
    assert stored_size(numbers) == 31_000_001
    assert 1_000_000 < stored_size(numbers, 1_000_000) < 1_000_400
