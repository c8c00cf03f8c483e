"""Which results are written together."""

from __future__ import annotations

from tasks_app.node.result_writer import MAX_BATCH_BYTES, MAX_BATCH_SIZE, ResultQueue
from tasks_app.queue.attempt import AttemptResult
from tests.node.test_in_flight import claimed
from tests.queue.moves.kit import failure, success


def filled(*results: AttemptResult) -> ResultQueue:
    queue = ResultQueue()
    for result in results:
        queue.put(result)
    return queue


def of(size: int, count: int = 1) -> list[AttemptResult]:
    return [success(claimed(f"{size} bytes, {n}"), result_size=size) for n in range(count)]


def test_a_batch_has_a_limit_of_results() -> None:
    results = of(1, MAX_BATCH_SIZE + 1)
    queue = filled(*results)
    assert queue.take() == results[:-1] and queue.take() == results[-1:] and queue.take() == []


def test_a_batch_has_a_limit_of_bytes_and_a_larger_result_is_alone() -> None:
    half, small, huge = of(MAX_BATCH_BYTES // 2, 3), of(10, 2), of(2 * MAX_BATCH_BYTES)
    queue = filled(*half, *huge, *small)
    assert [queue.take() for _ in range(4)] == [half[:2], half[2:], huge, small]


def test_what_a_handler_has_written_counts_too() -> None:
    noisy = [failure(claimed(str(n)), stdout_tail="x" * (MAX_BATCH_BYTES // 2)) for n in range(3)]
    assert len(filled(*noisy).take()) == 1


def test_bytes_and_results_count_until_they_are_written() -> None:
    queue = filled(*of(100, 3), *of(MAX_BATCH_BYTES))
    assert (queue.unwritten, queue.bytes) == (4, MAX_BATCH_BYTES + 300)
    batch = queue.take()
    assert (len(queue), queue.unwritten, queue.bytes) == (1, 4, MAX_BATCH_BYTES + 300)
    queue.put_back(batch)
    assert (len(queue), queue.unwritten) == (4, 4)
    queue.written(queue.take())
    queue.written(queue.take())
    assert (queue.unwritten, queue.bytes, len(queue)) == (0, 0, 0)


def test_a_refused_batch_is_halved_and_batches_grow_slowly_again() -> None:
    results = of(1, 100)
    queue, sizes = filled(*results), []
    queue.refused(queue.take())
    queue.refused(queue.take())
    while batch := queue.take():
        sizes.append(len(batch))
        queue.written(batch)
    assert sizes == [25, 31, 38, 6]


def test_what_could_not_be_written_is_first_again_but_a_single_result_is_last() -> None:
    results = of(1, 3)
    queue = filled(*results[:2])
    batch = queue.take()
    queue.put(results[2])
    queue.put_back(batch)
    assert queue.take() == results
    [huge], [small] = of(MAX_BATCH_BYTES + 1), of(2)
    queue = filled(huge, small)
    queue.put_back(queue.take())
    assert queue.take() == [small]
