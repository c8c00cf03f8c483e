"""The statements of each database: where the code has them, and what each is for. `statements.sql` is made of this."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import NamedTuple

QUEUE = Path(__file__).resolve().parents[3] / "tasks_app" / "queue"
ORDERS = ("fifo", "lifo", "priority")

HEAD = """\
-- What the platform sends to {database} for its queue: each statement as it is sent. Not here are those that Django
-- composes (cancel, delete, rescue, expire, pages of lists). For reading: no program reads this file.
-- Written by: REWRITE=1 pytest tests/queue/store/test_statements.py
"""

#: By database, module and name: the purpose in a sentence.
PURPOSES: dict[str, dict[str, dict[str, str]]] = {
    "postgresql": {
        "moves": {
            "INSERT": "Stores new tasks without options, and counts them.",
            "INSERT_KEYED": "Stores requests with an Idempotency-Key and their tasks, but for keys that are stored.",
            "INSERT_ROWS": "Stores new tasks with all their options, but for those whose unique key a living task has.",
            "LOCK": "Says that this transaction will write tasks, before it takes positions.",
            "NEXT_POSITIONS": "Takes positions in the queue.",
            "SETTLE_ALL": "Stores how attempts ended, with their tasks and counters; fails if one does not match.",
            "SETTLE_ANY": "The same for those attempts that match their tasks, after SETTLE_ALL has failed.",
            "SETTLE_FOLLOWED": "The same for followed tasks, in the transaction in which their followers are told.",
            "RENEW": "Renews the leases of a node's running tasks, and says that the node lives.",
            "PROMOTER": "Asks whether this is the only process that makes waiting tasks ready.",
            "PROMOTE": "Makes waiting tasks ready.",
            "REDRIVE": "Makes failed tasks ready.",
            "SET_PRIORITY": "Gives pending tasks another priority.",
            "ADD_EVENTS": "Stores the log and the progress of running attempts.",
            "END_EVENTS": "Stores the last live events of attempts.",
        },
        "fill": {
            "ALONE": "Waits until no other session fills.",
            "DUE": "Reads which keys are due.",
            "take_back_statement": "Holds ready tasks that never ran again, if better ones of their keys are held.",
            "fill_statement": "Makes the best held tasks of keys that are due ready, as far as their limits allow.",
        },
        "claim": {
            "claim_one_type": "Claims the best ready tasks of a type for a node.",
            "claim_by_type": "Claims the best ready tasks of each of several types for a node.",
            "best_of_types": "Reads the best ready tasks over several types, for a node with a limit over all of them.",
            "CLAIM_BY_ID": "Claims those tasks that `best_of_types` has read.",
        },
        "marks": {
            "LOOK": "Finds where ready tasks begin, by type, so that claims need not read dead entries before them.",
            "LOWEST": "Finds the lowest positions of tasks that are ready again, if LOOK has found too many of them.",
        },
        "readings": {
            "due_work_statement": "The beat of a node, about once a second: what is due, and what is on hold.",
            "on_hold_statement": "Reads what a node must not start.",
            "reading_statement": "Reads counters and queues, for metrics and the dashboard, from where indexes begin.",
            "READING": "The same from the ends of the indexes, while it is not known where they begin.",
            "RUNS": "Reads all running tasks.",
            "statement": "Counts the ready tasks that come before a task.",
            "READ_VERSIONS": "Reads a text for each task that changes with it, for requests that wait for a change.",
            "READ_FINAL_OR_GONE": "Reads which tasks have ended, for requests that wait for an end.",
            "READ_DATA": "Reads the data of a task, which may be large.",
        },
        "counters": {
            "ADD": "Adds to counters.",
            "READ_REACHED": "Reads how far additions have come.",
            "LOCK": "Asks whether this is the only session that folds.",
            "FOLD": "Adds all additions up to an id to the counters' rows, and removes them.",
        },
        "scan_start": {
            "READ": "Reads where indexes begin to have rows.",
            "REACHED": "Reads how far positions, attempts and the clock have come.",
            "LOCK": "Asks whether this is the only session that moves the row.",
            "LIMIT": "Limits the statements of this transaction, which are given up rather than waited for.",
            "first_statement": "Finds the first row of each index.",
            "TYPES": "Reads the types of which tasks were received.",
            "ALL_TYPES": "Reads the same, and the types of all ready tasks.",
            "PRIORITIES": "Reads the types and priorities of tasks that were claimed lately.",
            "REMOVE": "Removes the row before.",
            "STORE": "Stores where indexes begin.",
        },
        "horizon": {"WRITERS": "Lists the transactions that may write to a table."},
        "maintain": {
            "HIDDEN": "Finds ready tasks that claims skip because another program has moved them.",
            "OLDEST": "Finds the oldest snapshot that a session, a standby or a slot holds.",
        },
        "session": {
            "PLANNER_SETTINGS": "Settings of the session of a thread that claims or settles.",
            "NOT_DURABLE": "The same, for a thread whose commits need not wait for the disk.",
            "DURABLE": "Lets the commit of this transaction wait for the disk, in a session whose commits do not.",
            "READ_SECONDS": "Reads the server's clock.",
            "READ_MOMENT": "Reads the server's clock and the time of day, of one moment.",
            "LIFT": "Lets a statement take longer.",
            "RESET": "Ends that.",
            "UPDATE_NODE": "Writes a node's state.",
        },
    },
    "sqlite": {
        "moves": {
            "TAKE_POSITIONS": "Takes positions in the queue.",
            "LAST_POSITION": "Reads the last position that was taken.",
            "INSERT": "Stores new tasks without options.",
            "INSERT_KEYS": "Stores the Idempotency-Keys of requests, but for those that are stored.",
            "INSERT_ROWS": "Stores new tasks with all their options, but for those whose unique key a living task has.",
            "SETTLE_COMPLETED": "Stores the result of a task.",
            "SETTLE": "Stores that a task failed, or that it is pending again.",
            "SETTLE_FOLLOWED": "Stores how an attempt of a followed task ended.",
            "insert_attempts": "Stores attempts that have ended, up to eight in a statement.",
            "ALIVE": "Says that a node lives.",
            "RENEW": "Renews the leases of a node's running tasks.",
            "PROMOTE": "Makes a waiting task ready.",
            "REDRIVE": "Makes a failed task ready.",
            "SET_PRIORITY": "Gives a pending task another priority.",
            "INCREMENT": "Adds to a counter.",
            "ADD_COUNTS": "Adds to counters of which some may have no row yet.",
            "ROW_IDS": "Reads the ids of counters.",
            "HELD": "Reads which of these attempts run on a node.",
            "ADD_EVENTS": "Stores the log and the progress of running attempts.",
            "END_EVENTS": "Stores the last live events of attempts.",
        },
        "fill": {
            "DUE": "Reads which keys are due.",
            "NO_LONGER_DUE": "Removes these rows.",
            "NOTE": "Notes that a key is due.",
            "USED": "Counts the permits of a key.",
            "READY": "Counts the ready tasks of a key that never ran.",
            "best_held": "Reads the best held tasks of a key.",
            "UNSTARTED": "Reads the ready tasks of a key that never ran.",
            "HOLD_AGAIN": "Holds such a task again.",
            "HELD_AGAIN": "Stores that it is held.",
            "NO_PERMIT": "Removes its permit.",
            "LET_GO": "Makes a held task ready.",
            "NO_LONGER_HELD": "Removes the row that says that it is held.",
            "PERMIT": "Gives it a permit.",
        },
        "claim": {
            "best_of_type": "Reads the best ready tasks of a type.",
            "positions_of_type": "Reads only their positions, for a node with a limit over all types.",
            "CLAIM": "Claims such a task for a node.",
            "READY_TYPES": "Reads which types have ready tasks.",
        },
        "readings": {
            "due_work_statement": "The beat of a node, about once a second: what is due, and what is on hold.",
            "on_hold_statement": "Reads what a node must not start.",
            "READING": "Reads counters and queues, for metrics and the dashboard.",
            "RUNS": "Reads all running tasks.",
            "statement": "Counts the ready tasks that come before a task.",
            "READ_VERSIONS": "Reads a text for each task that changes with it, for requests that wait for a change.",
            "READ_FINAL_OR_GONE": "Reads which tasks have ended, for requests that wait for an end.",
            "READ_DATA": "Reads the data of a task, which may be large.",
        },
        "session": {"UPDATE_NODE": "Writes a node's state."},
    },
}  # fmt: skip
#: The values that stand in templates.
_EXAMPLE = {"table": "taskdaemon_task", "name": "statement_timeout", "milliseconds": 500}


class Statement(NamedTuple):
    """A statement. `variant`: the order of the queue, if there is one for each."""

    module: str
    name: str
    variant: str
    text: str


def statements(database: str) -> Iterator[Statement]:
    """Those of a database, in the order of PURPOSES."""
    for module, purposes in PURPOSES[database].items():
        for name in purposes:
            made = getattr(import_module(f"tasks_app.queue.{database}.{module}"), name)
            if isinstance(made, str):
                yield Statement(module, name, "", made.format(**_EXAMPLE) if _is_template(made) else made)
            elif "order" in signature(made).parameters:
                yield from (Statement(module, name, order, made(order)) for order in ORDERS)
            elif "count" in signature(made).parameters:
                yield Statement(module, name, "", made(1))
            else:
                yield Statement(module, name, "", made())


def _is_template(text: str) -> bool:
    return any(f"{{{name}}}" in text for name in _EXAMPLE)


def page(database: str) -> str:
    """The file of a database."""
    parts = [HEAD.format(database={"postgresql": "PostgreSQL", "sqlite": "SQLite"}[database])]
    for module, name, variant, text in statements(database):
        title = f"{name.lower()}{f', {variant}' if variant else ''}"
        purpose = PURPOSES[database][module][name]
        parts.append(f"-- {title} ({module}.py)\n-- {purpose}\n{text.strip()};\n")
    return "\n".join(parts)
