"""What a session may take for ended, from what its looks see."""

from __future__ import annotations

from tasks_app.queue.postgresql.horizon import Horizon, Sample

NONE: frozenset[str] = frozenset()


def after(*looks: tuple[int, set[str]]) -> int:
    """The position that is proven after looks which sampled these positions and listed these writers."""
    horizon = Horizon()
    for micros, (position, writers) in enumerate(looks):
        horizon = horizon.seen(Sample(position, micros), frozenset(writers))
    return horizon.proven.position


def test_a_sample_is_proven_if_no_transaction_writes_at_the_next_look() -> None:
    assert after((10, set())) == 0
    assert after((10, set()), (20, set())) == 10
    assert after((10, {"1/1"}), (20, set())) == 10


def test_a_transaction_that_writes_holds_up_what_was_sampled_before_it_was_listed() -> None:
    assert after((10, set()), (20, {"1/1"})) == 0
    assert after((10, set()), (20, {"1/1"}), (30, {"1/1", "2/5"}), (40, {"1/1"})) == 0
    assert after((10, set()), (20, {"1/1"}), (30, {"1/1", "2/5"}), (40, {"2/5"})) == 10


def test_transactions_that_began_later_hold_up_nothing() -> None:
    assert after((10, set()), (20, {"1/1"}), (30, {"1/2"})) == 10
    assert after((10, set()), (20, {"1/1"}), (30, {"1/2"}), (40, {"1/3"})) == 20


def test_a_clock_that_was_set_back_proves_nothing() -> None:
    horizon = Horizon().seen(Sample(10, 1000), NONE).seen(Sample(20, 2000), NONE)
    assert horizon.proven == Sample(10, 1000)
    horizon = horizon.seen(Sample(30, 1500), NONE)
    assert horizon.proven == Sample()
    assert horizon.seen(Sample(40, 1600), NONE).proven == Sample(30, 1500)
