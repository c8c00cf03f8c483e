"""The bands that claims skip, in each order."""

from __future__ import annotations

from tasks_app.queue.postgresql.horizon import Sample
from tasks_app.queue.postgresql.marks import END, MAX_BANDS, TOP, Fifo, Levels, Lifo, Marks, Returned

PROVEN = Sample(1000, 5_000)


def test_a_floor_ends_at_the_first_ready_row_and_at_what_is_proven() -> None:
    assert Fifo(10).grown(1000, [40]) == Fifo(40)
    assert Fifo(10).grown(1000, [None]) == Fifo(1000)
    assert Fifo(10).grown(30, [40]) == Fifo(30)
    assert Fifo(500).grown(30, [None]) == Fifo(500)


def test_each_priority_has_a_floor_and_what_is_between_them_has_none() -> None:
    levels = Levels().claimed([50, 90]).claimed([50, 20])
    assert levels.segments() == [(TOP, 0, 90), (90, 0, 50), (50, 0, 20), (20, 0, -1)]
    assert levels.grown(1000, [None, 40, 1200]).segments() == [
        (TOP, 0, 90),
        (90, 1000, 50),
        (50, 40, 20),
        (20, 1000, -1),
    ]


def test_the_first_band_of_a_lifo_queue_is_above_its_last_ready_row() -> None:
    lifo = Lifo().grown(1000, [300])
    assert lifo == Lifo(((301, 1000),))
    assert lifo.segments() == [(1000, END, 301), (0, 301, 0)]


def test_a_band_grows_downwards_and_upwards_and_meets_the_next() -> None:
    lifo = Lifo(((500, 800), (100, 300)))
    assert lifo.grown(1000, [None, 420]) == Lifo(((421, 1000), (100, 300)))
    assert lifo.grown(1000, [None, None]) == Lifo(((100, 1000),))
    assert Lifo(((100, 800),)).grown(1000, [None, None]) == Lifo(((0, 1000),))


def test_above_new_rows_that_stay_there_is_a_new_band_if_it_is_worth_one() -> None:
    lifo = Lifo(((100, 800),))
    assert lifo.grown(1000, [850, 99]) == Lifo(((851, 1000), (100, 800)))
    assert lifo.grown(1000, [950, 99]) == lifo
    many = Lifo(tuple((n * 100, n * 100 + 10) for n in range(MAX_BANDS, 0, -1)))
    assert len(many.grown(2000, [900, 799]).stack) == MAX_BANDS


def test_rows_that_came_back_are_read_until_none_is_left_in_a_band() -> None:
    marks = Marks(Fifo(1000), since=100)
    hidden, above = Returned(50, 7, 2_000), Returned(50, 1500, 1_000)
    assert marks.looked(PROVEN, [1500], [hidden, above]) == Marks(Fifo(1000), since=2_000)
    assert marks.looked(PROVEN, [1500], [above]) == Marks(Fifo(1000), since=5_000)
    assert Marks(Fifo(1000), since=9_000).looked(PROVEN, [None], []) == Marks(Fifo(1000), since=9_000)


def test_too_many_of_them_end_the_bands() -> None:
    assert Marks(Fifo(1000)).uncovered(PROVEN, {50: 40, 90: 60}) == Marks(Fifo(40), since=5_000)
    assert Marks(Lifo(((100, 800),))).uncovered(PROVEN, {50: 40}) == Marks(Lifo(), since=5_000)
    levels = Marks(Levels(((90, 1000), (50, 1000))))
    assert levels.uncovered(PROVEN, {50: 40}) == Marks(Levels(((90, 1000), (50, 40))), since=5_000)
