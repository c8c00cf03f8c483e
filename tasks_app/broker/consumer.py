"""A node's consumer: Celery's, changed to receive only notifications, to survive its broker, and to report problems."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

from celery.worker.consumer.consumer import Consumer
from celery.worker.loops import asynloop, synloop
from celery.worker.state import maybe_shutdown
from kombu import Queue

from tasks_app.broker.health_check import ACCESS_REFUSED, PERMISSIONS, broker_problems
from tasks_app.broker.queues import NOTIFICATION_TASK
from tasks_app.broker.receiver import Receiver, RedisPull
from tasks_app.logs import REMINDER_SECONDS, LogOnce
from tasks_app.runner.backoff import Backoff

logger = logging.getLogger(__name__)

#: Between two attempts to connect, at first and at most.
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 5.0
#: A connection that lasted this long was stable: the next attempt comes at once.
STABLE_SECONDS = 10.0
#: A shorter time without a connection is no problem: a start, a reconnect.
GRACE_SECONDS = 5.0
#: Between two checks of known problems: a queue that the broker refuses, a setting of the broker.
RECHECK_SECONDS = 10.0
#: Between two checks that Redis still answers.
ANSWER_CHECK_SECONDS = 2.0
#: AMQP's reply codes for one queue: it is another connection's alone; it exists with other arguments.
RESOURCE_LOCKED, PRECONDITION_FAILED = 405, 406


class Unreadable(OSError):
    """Data from the broker could not be parsed. A new connection may read what follows."""


class NotificationConsumer(Consumer):
    """For Celery's setting `worker_consumer`. Runs in the worker's main thread; another thread asks for `problem`.

    Whatever the broker does, the worker goes on: it retries, at least every 5 s, and logs once a minute.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # These features talk to other Celery workers, through queues that all deployments on a broker share.
        options |= {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        #: For each queue that the broker refuses: why.
        self.refused_queues: dict[str, str] = {}
        self.broker_problems: list[str] = []
        #: Why the last connection ended, or could not be made.
        self.lost_because = ""
        self._health_check: threading.Thread | None = None
        self._redis: RedisPull | None = None
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._connecting_since = time.monotonic()
        #: When `problem` last found a connection. Written by the thread that asks.
        self._connected_at = self._connecting_since
        self._log_once = LogOnce(REMINDER_SECONDS)
        # This class logs about connections itself, in sentences; only Celery's errors are kept.
        logging.getLogger(Consumer.__module__).setLevel(logging.ERROR)
        # Celery warns at each connection about a setting that is set. By now it has read all of these settings.
        warnings.filterwarnings("ignore", message=r"\s*In Celery 5.1 we introduced an optional breaking change")
        super().__init__(*args, **options)
        # The queues that it consumes, and the queues that it is to consume. Written by its thread, and by any thread
        # that calls `serve`.
        self._queues: dict[str, Queue] = dict(self.app.amqp.queues.consume_from)
        self._wanted = self._queues

    def problem(self) -> str | None:
        """Why notifications cannot arrive, in a sentence; None if they can."""
        now = time.monotonic()
        if self.connection is not None:
            self._connected_at = now
            return "; ".join([*self.refused_queues.values(), *self.broker_problems]) or None
        if now - self._connected_at < GRACE_SECONDS:
            return None
        why = f" ({self.lost_because})" if self.lost_because else ""
        return f"no connection to the broker{why}: no notifications arrive, tasks are found by polling"

    # Connecting.

    def ensure_connected(self, conn: Any) -> Any:
        """Retry until connected. Raises errors that time does not cure, such as a wrong password."""

        def failed(error: Exception, interval: float) -> None:
            self._warn(f"no connection to the broker at {conn.as_uri()}", error)

        conn.ensure_connection(
            failed,
            None,
            interval_start=FIRST_RETRY_SECONDS,
            interval_step=FIRST_RETRY_SECONDS,
            interval_max=MAX_RETRY_SECONDS,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def connect(self) -> Any:
        """Connect and declare the queues; queues that the broker refuses are left out."""
        connection = self.ensure_connected(self.app.connection_for_read(heartbeat=self.amqheartbeat))
        self._note_wanted()
        try:
            if connection.transport.driver_type == "amqp":
                if self.hub:
                    connection.transport.register_with_event_loop(connection.connection, self.hub)
                self._select_queues(connection)
        except Exception:
            connection.collect()
            raise
        return connection

    def on_ready(self) -> None:
        """The consumer is connected and consumes its queues."""
        if self.connection.transport.driver_type == "redis":
            self._pull()
        else:
            self._log_return()
        self._start_health_check()
        super().on_ready()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """The broker refuses the connection."""
        self._warn(f"no connection to the broker at {self.conninfo.as_uri()}", exc)
        self._wait_before_retry()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The connection is lost, or the broker refused a request on it."""
        self._warn(f"lost the broker at {self.conninfo.as_uri()}", exc)
        super().on_connection_error_after_connected(exc)
        self._wait_before_retry()

    def _warn(self, what: str, error: Exception) -> None:
        self.lost_because = " ".join(str(error).split())[:300] or type(error).__name__
        if self._log_once.is_due():
            logger.warning(
                "%s: no notifications arrive, tasks are found by polling; retrying (%s)", what, self.lost_because
            )

    def _log_return(self) -> None:
        # If every queue is refused, no notification arrives; each of them is logged once it is declared.
        if self._log_once.forget() and self.refused_queues.keys() != self._queues.keys():
            logger.info("the broker is back: notifications arrive again")

    def _wait_before_retry(self) -> None:
        """Retry at once after a stable connection, otherwise after a growing pause."""
        if time.monotonic() - self._connecting_since >= STABLE_SECONDS:
            self._backoff.succeeded()
        else:
            self._backoff.failed()
        end = time.monotonic() + self._backoff.pause
        while time.monotonic() < end:
            maybe_shutdown()
            time.sleep(0.1)
        self._connecting_since = time.monotonic()

    # After a reload.

    def serve(self, queues: Sequence[Queue]) -> None:
        """Consume these queues from now on, without a new connection. Without queues nothing changes. Thread-safe."""
        if queues:
            self._wanted = {queue.name: queue for queue in queues}
            self.call_soon(self._change_queues)

    def _note_wanted(self) -> tuple[list[str], list[str]]:
        """Select the queues that the next connection consumes. Returns the names of added and removed queues."""
        before, now = self._queues, self._wanted
        self._queues = now
        for queue in now.values():
            self.app.amqp.queues.add(queue)
        self.app.amqp.queues.select(list(now))
        for name in self.refused_queues.keys() - now.keys():
            del self.refused_queues[name]
        return [name for name in now if name not in before], [name for name in before if name not in now]

    def _change_queues(self) -> None:
        added, removed = self._note_wanted()
        if self.connection is None or self.task_consumer is None:
            return  # the next connection consumes them
        declares = self.connection.transport.driver_type == "amqp"
        for name in added:
            if not declares or self._declare(self.connection, self._queues[name]):
                self.add_task_queue(name)
        for name in removed:
            self.cancel_task_queue(name)
        if self._redis is not None:
            self._redis.serve(self._queues)

    # If a queue exists with other arguments, RabbitMQ closes the channel, and Celery would reconnect without end.

    def _select_queues(self, connection: Any) -> None:
        self.app.amqp.queues.select(list(self._queues))
        self.app.amqp.queues.deselect(
            [name for name, queue in self._queues.items() if not self._declare(connection, queue)]
        )

    def _declare(self, connection: Any, queue: Queue) -> bool:
        channel = connection.channel()
        try:
            queue(channel).declare()
        except connection.channel_errors as error:
            code = getattr(error, "code", None)
            if code not in (ACCESS_REFUSED, RESOURCE_LOCKED, PRECONDITION_FAILED):
                raise
            self._note_refused(queue.name, code, error)
            return False
        channel.close()
        self.refused_queues.pop(queue.name, None)
        return True

    def _note_refused(self, queue: str, code: int, error: Exception) -> None:
        without = "its notifications do not arrive, its tasks are found by polling"
        if code == ACCESS_REFUSED:
            sentence = f"this user of RabbitMQ may not declare the queue {queue}: {without}; {PERMISSIONS}"
        elif code == RESOURCE_LOCKED:
            sentence = (
                f"the queue {queue} belongs to another connection of RabbitMQ alone: {without}; end that connection, "
                "and the worker declares it"
            )
        else:
            sentence = (
                f"the queue {queue} exists in RabbitMQ with other arguments: {without}; delete it (rabbitmqctl "
                f"delete_queue {queue}), and the worker declares it again"
            )
        if queue not in self.refused_queues:
            logger.warning("%s (%s)", sentence, " ".join(str(error).split())[:300])
        self.refused_queues[queue] = sentence

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's hook to register timers on this connection."""
        super().register_with_event_loop(hub)
        wake_on_signals(hub)
        hub.timer.call_repeatedly(RECHECK_SECONDS, self._recheck)
        hub.timer.call_repeatedly(ANSWER_CHECK_SECONDS, self._check_answer)

    def _start_health_check(self) -> None:
        # In a thread, because it blocks and this one receives notifications.
        if self._health_check is None or not self._health_check.is_alive():
            self._health_check = threading.Thread(target=self._check_health, name="broker-health", daemon=True)
            self._health_check.start()

    def _check_health(self) -> None:
        try:
            problems = broker_problems(self.app)
        except Exception as error:  # the broker may forbid the question; a lost connection is reported elsewhere
            logger.debug("could not ask the broker for its problems: %s", error)
            return
        for sentence in problems:
            if sentence not in self.broker_problems:
                logger.warning("%s", sentence)
        self.broker_problems = problems

    def _recheck(self) -> None:
        if self.broker_problems:
            self._start_health_check()
        for name in list(self.refused_queues):
            if self.connection is not None and self._declare(self.connection, self._queues[name]):
                self.add_task_queue(name)
                logger.info("the queue %s is declared: its notifications arrive again", name)

    # Receiving.

    def loop(self, *args: Any) -> None:
        """Celery's loop. An unexpected error costs the connection, not the worker."""
        # Celery's loop waits before it checks for shutdown, and a signal that came earlier does not end that wait.
        maybe_shutdown()
        try:
            (asynloop if self.hub else synloop)(*args)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:
            logger.exception("reading from the broker failed")
            raise Unreadable(f"{type(error).__name__}: {error}") from error

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """The function that handles a message. Celery's own would follow callbacks, chains and times in the message."""
        # The task's body, as Celery would keep a request for each call of the task.
        self._receiver = Receiver(self.app.tasks[NOTIFICATION_TASK].run)

        def on_message(message: Any) -> None:
            if self._receiver.take(message) is None:
                message.reject_log_error(logger, self.connection_errors)
            else:
                message.ack_log_error(logger, self.connection_errors)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Kombu could not decode a message."""
        self._receiver.drop(exc)
        message.reject_log_error(logger, self.connection_errors)

    def _pull(self) -> None:
        """On Redis: receive without kombu's client."""
        channel, accept = self.task_consumer.channel, self.task_consumer.accept
        receive = partial(self._receiver.take_items, channel=channel, accept=accept)
        self._redis = RedisPull(channel, self._queues, receive, self._log_return)
        self._redis.start(self.hub)

    def _check_answer(self) -> None:
        if self._redis is not None:
            self._redis.check()


@cache
def _pair() -> tuple[socket.socket, socket.socket]:
    """What to read from, and where Python writes each signal's number. For all loops of the process."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    return reading, writing


def wake_on_signals(hub: Any) -> None:
    """Let `hub` look for a stop after each signal; Celery's loop notices one only when its broker says something.

    Call in the main thread, for each connection of a consumer.
    """
    reading = _pair()[0]
    hub.add_reader(reading, _forget, reading)


def _forget(reading: socket.socket) -> None:
    with suppress(BlockingIOError):
        reading.recv(1024)
