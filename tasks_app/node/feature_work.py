"""What features do in a node beside its duties: side jobs of its heartbeat, and threads."""

from __future__ import annotations

from typing import Protocol

from tasks_app.queue.due_work import DueWork


class SideJob(Protocol):
    """A side job of the heartbeat (`Feature.side_jobs`)."""

    def run(self, work: DueWork) -> None:
        """Do it, if it is time. On the heartbeat's thread, after its duties. `work`: what the beat has found due.

        Raises nothing, and no call to the database takes long: `OutageGuard` sees to both.
        """


class NodeThread:
    """A thread of a node (`Feature.node_threads`): a node starts it last, and stops it first."""

    #: Names the thread; no other thread of the node has the name.
    name: str

    def run(self) -> None:
        """The thread, until it is stopped.

        It must catch outages of the database itself; anything it raises ends the node.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Let the thread end soon, and return at once. Called once, first of all when a node ends; raises nothing."""
        raise NotImplementedError

    def on_beat(self, work: DueWork) -> None:
        """Wake the thread if a beat has found work for it. On the heartbeat's thread; asks and raises nothing."""

    def problem(self) -> str | None:
        """What is wrong, in a sentence that /health shows; None: nothing.

        On the heartbeat's thread; asks and raises nothing.
        """
        return None
