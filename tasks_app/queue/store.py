"""The interface between the platform and its database, and the words that it uses.

`Store` is all that the platform asks of a database, as numbered promises. A store is a module that has its functions:
`postgresql/store.py` and `sqlite/store.py`; mypy compares them with the protocol, and each passes tests/queue/store/.
`current.py` says which one a process has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.db.models.expressions import Combinable

from tasks_app.queue.attempt import AttemptResult, ClaimedTask, ClaimRequest, LiveEvents, Selection, Settled
from tasks_app.queue.due_work import DueWork, FirstTimes, OnHold
from tasks_app.queue.sql import Filled, KeyLimits
from tasks_app.queue.submission import IdempotencyKey, NewRow, NewTask, RequestName

#: Takes what a settle keeps and what it drops, and returns what to add to the counters.
CountSettled = Callable[[Sequence[Settled], Sequence[AttemptResult]], dict[str, int]]


def in_order(deltas: Mapping[str, int]) -> list[tuple[str, int]]:
    """The nonzero increments, in the order in which every writer locks the rows, which avoids deadlocks."""
    return sorted((series, delta) for series, delta in deltas.items() if delta)


class Fault(NamedTuple):
    """Why the platform cannot work on a database, which no retry corrects.

    `check`: the number of its system check. `hint`: what to do, unless the sentence says it.
    """

    check: str
    sentence: str
    hint: str | None = None


#: Errors that do not depend on the values: no connection, a table that does not exist yet, a read-only server.
UNAVAILABLE_ERRORS = (OperationalError, InterfaceError, ProgrammingError, InternalError)
#: All that a statement with values raises. A text that is not valid Unicode is a ValueError.
STATEMENT_ERRORS = (DatabaseError, InterfaceError, ValueError)


class DatabaseRefusal(Enum):
    """What a database that is available refuses. `VALUE`: one of the values, each time. `COST`: the time or the memory
    that the statement takes, which may be the values' fault or the database's."""

    VALUE = "value"
    COST = "cost"


def value_refusal(error: Exception) -> DatabaseRefusal | None:
    """VALUE for an error that no fault of a database causes."""
    if isinstance(error, STATEMENT_ERRORS) and not isinstance(error, UNAVAILABLE_ERRORS):
        return DatabaseRefusal.VALUE
    return None


class Store(Protocol):
    """What the platform asks of its database, as far as databases differ.

    A store decides nothing: the verbs decide, and a method is one whole move. What Django's ORM
    expresses alike for all databases is not here.

    1. It has no state that callers see. Any thread may call any method at any time, on its own connection.
    2. A move happens whole or not at all. It is committed when the method returns, or together with the caller's
       transaction.
    3. A move states the status that it starts from, and for a running task the attempt. A row that another move has
       changed meanwhile is left as it is.
    4. Errors are Django's: OperationalError if the database is unavailable or takes no writes, DataError or
       IntegrityError if it refuses a value. If it refuses a write and still answers reads, a store may say so by
       WriteRefused.
    5. The number of statements of a move does not depend on the number of its tasks, except on a database that runs in
       this process. A claim may send one more from time to time, to keep later claims fast.
    """

    name: str
    """Its name in metrics."""
    is_server: bool
    """Whether it is worth waiting for: a server may be unavailable for a while."""
    single_writer: bool
    """Whether a write waits for every other write, so that a second thread that writes gains nothing."""
    tasks_per_batch: int
    """How many tasks an operation changes in one commit: few enough that claims and submits do not wait long."""

    def insert(self, new: Sequence[NewTask], ids: Sequence[UUID]) -> None:
        """(none) -> pending: new tasks with their ids, and the counters.

        Needs `bare_writing(one_statement=True)` or a transaction.
        6. All are stored or none. Positions follow the order of `new`.
        """

    def take_ready(
        self, node: str, requests: Sequence[ClaimRequest], order: Selection, cap: int | None, lease: float
    ) -> list[ClaimedTask]:
        """pending -> processing: at most `count` tasks of each type and `cap` in all, for `lease` seconds.

        `requests` has at least one, each type once, and each asks for at least one task. Returns them in any order.
        Data that may be too much beside that of the others is None on a server: see `task_data`.
        7. Two claims never get the same task, whatever runs at the same time.
        8. Each type gives its best ready tasks by `order`; with `cap`, the best over all types. Rows that another claim
           has locked are skipped, and rows that have expired before they were begun.
        9. The attempt's number grows by one, and the row has the policy from now on, with the time-out and the retries
           that its caller asked for.
        """

    def ready_types(self, types: Sequence[str]) -> set[str]:
        """Which of the types have a ready task.

        10. Takes no lock and reads few rows, however many are stored.
        """

    def write_results(
        self, node: str, settled: Sequence[Settled], count: CountSettled, followed: bool = False
    ) -> set[tuple[str, int]]:
        """processing -> as decided, with the attempts' rows and the counters. Returns the (id, attempt) that it kept.

        `settled` has each attempt once. `followed`: also tasks that are followed; within the caller's transaction.
        11. A result is kept if its task runs this attempt, and dropped otherwise, or if the task is followed; one that
            is dropped affects no other.
        12. `count` may be called more than once; what it returned last is added. If something is dropped, that call is
            within the transaction, so it may write. Otherwise it must not.
        13. A task with a pause waits until it is due; one that is pending without a pause is ready from now on. Both
            keep their positions.
        """

    def add_counts(self, deltas: Mapping[str, int]) -> None:
        """Increment counters, by series, in the caller's transaction; it needs one. Call once per transaction: two
        calls can deadlock.

        14. Writers of the same counters never deadlock, and no increment is lost.
        """

    def next_positions(self, count: int) -> Sequence[int]:
        """Positions in the queue, in the caller's transaction; it needs one.

        15. Each is given out once, and is higher than all before.
        """

    def due_work(self, node: str) -> DueWork:
        """What maintenance is due for `node`, read by one statement.

        16. Takes no lock. Reads one row for each question, however many tasks are stored, and one for each node that
            holds tasks.
        """

    def maintain(self) -> set[str]:
        """What the store needs to stay fast; nodes and web servers call it about once a second. Waits for no lock.

        Returns the types of ready tasks that claims could not see until now.
        """

    def problem(self) -> str | None:
        """What makes the database slow or large, in a sentence, as the last `maintain` of this process saw it."""

    def reading(self) -> list[tuple[Any, ...]]:
        """Counters and queues as (kind, name, detail, count, age), read by one statement and so of one moment.

        `total`: a series and its value. `ready`: a type, its ready tasks and for how many seconds the oldest has been
        ready. `waiting`: a type and its tasks that wait. `running`: a type, a node and its running tasks.
        17. Reads no final task.
        """

    def json_bytes(self, column: str, exact: bool = False) -> Combinable:
        """The bytes of a JSON column's text, as an expression for a query; null if they are not known.

        18. They have every digit of a number, but need not have spaces; 0 if the column is null. Known are the sizes
            that are columns of the row, and those of values that are not large. `exact`: the text is made, which may
            take long, and its bytes are those that Django reads from the column as a TextField.
        """

    def update_node(self, name: str, pools: dict[str, Any], draining: bool, problems: list[str]) -> bool:
        """Write a node's state, with the time; False if it has no row.

        19. It is committed when the method returns. A node that was recorded as stopped is no longer.
        """

    def clock_id(self) -> str:
        """Identifies the clock of leases and pauses. It changes if the clock may start anew.

        Wall-clock times (`*_at`) are for people: setting a host's clock would falsify a lease. A monotonic clock starts
        anew with each boot, so rows say by this id which clock their numbers are from; others cannot be compared.

        20. Setting the wall clock of a host does not change this clock, and all nodes of a deployment have the same.
        """

    def now(self) -> Combinable:
        """Seconds on that clock, as an expression for a query.

        21. `now`, `seconds`, and the leases and pauses that `take_ready` and `write_results` write are of one clock.
        """

    def seconds(self) -> float:
        """Seconds on that clock, as a number. May cost a query."""

    def moment(self) -> tuple[float, datetime]:
        """Seconds on that clock and the time of day, which are of one moment. May cost a query."""

    def elapsed(self) -> float:
        """Seconds on a clock of this machine that stands still only while leases do. Asks no server."""

    def writing(self) -> AbstractContextManager[object]:
        """A write transaction. It may be nested: only the outermost commits, and an exception in an inner one must end
        the outermost.

        22. Errors of statements that bypass Django's cursor become Django's errors too.
        23. `write_health` learns whether the database takes writes.
        24. Its commit survives a power cut.
        """

    def bare_writing(self, one_statement: bool = False, durable: bool = True) -> AbstractContextManager[object]:
        """As `writing`, for what this store does and for no other statements; a store may do it at less cost.

        Within it Django may assume autocommit, so `on_commit` callbacks may run at once, and only `writing` may be
        nested. Within a transaction it is `writing`. `one_statement`: it needs no transaction if the store has none.
        25. Not `durable`: a commit that need not wait for the disk. It survives the death of every process; a power cut
            may undo it, together with all that was committed after it. A `durable` one of more than one statement
            waits, also on a connection that was configured otherwise.
        """

    def configure_session(self, durable: bool = True) -> None:
        """Connect if necessary, and configure the connection of this thread, which claims, settles or reads often, if
        it is new. Not `durable`: its commits need not wait for the disk.

        26. Only this connection gets the settings; a thread calls it each time, since it may have a new one.
        """

    def limited(self, seconds: float) -> AbstractContextManager[None]:
        """Within it a call of this thread to a server takes `seconds` at most, and no longer than usual.

        27. A call that would take longer raises OperationalError, even if the server does not answer at all.
        """

    def extended(self, seconds: float | None) -> AbstractContextManager[None]:
        """Within it a statement of this thread may take `seconds`, in place of the usual limits; None: any time.

        28. A statement that would take longer raises OperationalError. When it ends, however it ends, the limits are
            the usual ones again.
        """

    def where(self) -> str:
        """Which database this is, for people.

        29. It has no password.
        """

    def fault(self) -> Fault | None:
        """Why the platform cannot work on this database, whatever its tables are; None if it can. May connect.

        30. A fault is returned, not raised. A server that does not answer has none: OperationalError is raised.
        """

    def final_or_gone(self, ids: Sequence[UUID]) -> list[UUID]:
        """Those of the tasks that are completed or failed, or not stored, in any order.

        31. One statement reads each task by its key and no other row, and waits for no lock.
        """

    def insert_rows(self, rows: Sequence[NewRow]) -> None:
        """(none) -> pending: new tasks with all their values, in the caller's transaction; it needs one.

        32. A row is left out if a task of its type that is not final has its unique key; a transaction that may store
            such a task is waited for. Rows are stored in the order given. Counts nothing.
        """

    def promote(self, rows: Sequence[tuple[UUID, int | None]]) -> None:
        """A pending task that waits becomes ready, in the caller's transaction; it needs one.

        33. One with a position gets it; the others keep theirs.
        """

    def queued_before(self, task_type: str, priority: int, position: int, order: Selection, limit: int) -> int:
        """How many ready tasks of a type a claim by `order` takes before one of this priority and position.

        34. At most `limit`, and few more rows are read, however many are stored and have been claimed. Takes no lock.
        """

    def insert_keyed(
        self, keys: Mapping[IdempotencyKey, range], until: datetime, new: Sequence[NewTask], ids: Sequence[UUID]
    ) -> set[RequestName]:
        """(none) -> pending: idempotency keys, sorted by name, which are remembered until a moment, and the tasks of
        their requests. Each key has the indexes of its request's tasks in `new`, which are in the order in which they
        get positions. Returns the names of the keys that were stored.

        Needs `bare_writing(one_statement=True)` or a transaction.
        35. If a key is stored already, neither it nor its tasks are; a transaction that may store it is waited for. The
            others are stored as by `insert`.
        """

    def add_live_events(self, node: str, batches: Sequence[LiveEvents]) -> set[tuple[str, int]]:
        """Store what attempts have written since the last time. Returns the (id, attempt) whose events are stored.

        `batches` has each attempt once. Needs `bare_writing(one_statement=True)` or a transaction.
        36. Only events of attempts that run on `node` are stored, and nothing that another move ends in between: no
            event follows the end of its attempt. Waits for no lock of a task; what is skipped is not returned.
        37. An event whose sequence is stored already is left as it is, so that a write may be repeated.
        """

    def end_live_events(self, batches: Sequence[LiveEvents]) -> None:
        """Store the last events of attempts, each with its `end`, in the caller's transaction; it needs one.

        38. Nothing is stored of an attempt that has an `end`.
        """

    def versions(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """A text for each of the tasks that is stored.

        39. It is another one after each change of status, each attempt's begin, and each live event of the last
            attempt. One statement reads each task by its key, and waits for no lock.
        """

    def on_hold(self, node: str) -> OnHold:
        """What `node` must not start, read by one statement. Takes no lock.

        40. It has every pause and every drain, of the node or of a type, that was committed before the call, and no
            pause that has ended by the database's clock. `due_work` reads the same.
        """

    def redrive(self, rows: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """failed -> pending, ready from now on at these positions and with all retries, in the caller's transaction; it
        needs one. Returns the ids of those that had failed.

        41. A task that has not failed is left as it is. If a living task has the unique key of one of them, the
            database refuses all: IntegrityError. Counts nothing.
        """

    def set_priority(self, rows: Sequence[tuple[UUID, int | None]], priority: int) -> set[UUID]:
        """A pending task gets another priority, in the caller's transaction; it needs one.

        Returns the ids of those that were pending.

        42. One with a position gets it; the others keep theirs.
        """

    def renew(self, node: str, leases: Mapping[str, float]) -> set[tuple[str, int]]:
        """processing -> processing: the lease of each of these tasks ends so many seconds from now. Returns the (id,
        attempt) of those that run on `node`. The node's row, if there is one, gets the time.

        43. One round trip to a server, and committed when the method returns. It waits for no lock of a row: what is
            skipped keeps its lease and is not returned. Where all writes wait for one another, it goes before all that
            wait, except for the next one.
        """

    def running(self) -> list[tuple[UUID, str, str]]:
        """All running tasks, as (id, type, node).

        44. Few other rows and dead entries are read, however many tasks have run and whoever holds a snapshot. The same
            holds for `reading`, `due_work`, and scans that start at `first_times`.
        """

    def first_times(self) -> FirstTimes:
        """Where scans of indexes by time may start.

        45. No row is before, but one that was committed more than 20 s after its time was computed, or changed by hand:
            it is found late.
        """

    def refusal(self, error: Exception) -> DatabaseRefusal | None:
        """What the database refused by this error of a statement; None if it is unavailable.

        46. A lost connection, a server that does not answer, and one that takes no writes refuse nothing.
        """

    def task_data(self, task_id: str, limit: int) -> tuple[int, str | None] | None:
        """The bytes of a task's data as JSON text, and the text if it has no more than `limit`; None without the task.

        47. One statement makes this text, once, and no other; `take_ready` makes no text of data that it returns as
            None.
        """

    def task_bytes(self) -> Combinable:
        """About how many bytes a task's data and result have, as an expression for a query.

        48. Reads neither of them.
        """

    def advice(self, error: Exception) -> str:
        """What is wrong with the database by this error, and what to do next: one sentence for people, one line.

        49. It names what is missing (tables, the database, its user, room, an address) and what makes it. No password.
        """

    def lacks_tables(self, error: BaseException) -> bool:
        """Whether a statement was refused because a table, or a column of one, is missing: nothing was done.

        50. Migrating corrects it, and no retry does. False for any other error.
        """

    def may_promote(self) -> bool:
        """Whether this is the only process that promotes, until the end of the caller's transaction; it needs one.

        51. Of several at the same time one may. It waits for no other that does, and is refused only while one does.
        """

    def held_clock(self) -> str:
        """The clock in the rows of held tasks: no question about tasks that wait on a clock reads them.

        52. With many held tasks, `due_work` and `promote` read no more rows than without.
        """

    def claiming(self, order: Selection) -> AbstractContextManager[None]:
        """Around a write transaction of this thread in which it claims.

        54. The claim reads no more than one without a transaction, whoever holds a snapshot.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """A part of this thread's write transaction, in which all of Django works, within `bare_writing` too.

        53. An exception undoes this part alone. What is called `on_commit` is called once the transaction is committed.
        """

    def fill(self, limits: KeyLimits, order: Selection) -> Filled:
        """held -> ready: of the keys that are due the best tasks by `order`, as many as have no permit yet of those
        that `limits` allows each key of a type. Tasks that never ran get new positions, in that order over all keys.
        A ready task that never ran is held again if a better one of its key is held, or if more of its key are ready
        than the limits allow.

        55. Never more tasks of a key have a permit than the limit allows, whatever runs at the same time.
        56. Few more rows are read than become ready, however many are held.
        """
