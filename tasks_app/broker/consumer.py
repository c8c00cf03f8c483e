"""A node's consumer: Celery's, made to hear bells alone, to outlive its broker, and to say what is wrong with it."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery.worker.consumer.consumer import Consumer
from celery.worker.loops import asynloop, synloop
from celery.worker.state import maybe_shutdown
from kombu import Queue

from tasks_app.broker.message import TASK, NotABell, handler_of
from tasks_app.broker.survey import lacks

logger = logging.getLogger(__name__)

#: Seconds between two tries to reach a broker that is away: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
#: Seconds after which a connection has lasted: its end is news, and the next try comes at once.
LASTED = 10.0
#: Seconds between looks at what was wrong: a queue that the broker did not let us have, what it lacks.
LOOK_AGAIN = 10.0
#: Seconds between two lines that say that the broker is still away.
COMPLAIN_EVERY = 60.0
#: AMQP's "precondition failed": the queue is there, with other arguments.
OTHER_ARGUMENTS = 406


class Unreadable(OSError):
    """What came from the broker could not be understood. A new connection may understand the next."""


class BellConsumer(Consumer):
    """For Celery's setting `worker_consumer`. All of it runs in the worker's main thread; the rest may read `problem`.

    Whatever the broker does, the worker goes on: it tries again, in the end every 5 s, and says so once a minute.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # Talk among Celery's workers, in queues that all deployments on a broker share.
        options |= {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        #: Why no bells come from a queue, by its name.
        self.refused: dict[str, str] = {}
        #: What the broker lacks.
        self.lacks: list[str] = []
        self._survey: threading.Thread | None = None
        self._pause = 0.0
        self._began = time.monotonic()
        self._complained_at: float | None = None
        # What it says of a connection is said here, in sentences; what it calls an error it may say.
        logging.getLogger(Consumer.__module__).setLevel(logging.ERROR)
        # And this it says each time of a setting that is made. Celery has asked to see all of these by now.
        warnings.filterwarnings("ignore", message=r"\s*In Celery 5.1 we introduced an optional breaking change")
        super().__init__(*args, **options)
        self._ours: dict[str, Queue] = dict(self.app.amqp.queues.consume_from)

    @property
    def problem(self) -> str | None:
        """What stands between a node and its bells, though it is connected; None if there is nothing."""
        return "; ".join([*self.refused.values(), *self.lacks]) or None

    # Connecting.

    def ensure_connected(self, conn: Any) -> Any:
        """Connected, however long that takes. Raises what is no matter of time, such as a wrong password."""

        def failed(error: Exception, interval: float) -> None:
            self._complain(f"no connection to the broker at {conn.as_uri()}", error)

        conn.ensure_connection(
            failed,
            None,
            interval_start=FIRST_PAUSE,
            interval_step=FIRST_PAUSE,
            interval_max=LONGEST_PAUSE,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def connect(self) -> Any:
        """A connection with our queues on it, as far as the broker lets us have them."""
        connection = self.ensure_connected(self.app.connection_for_read(heartbeat=self.amqheartbeat))
        try:
            if self.hub:
                if connection.transport.driver_type != "amqp":
                    connection.transport.on_readable = self._dropping(connection.transport.on_readable)
                connection.transport.register_with_event_loop(connection.connection, self.hub)
            if connection.transport.driver_type == "amqp":
                self._choose_queues(connection)
        except Exception:
            connection.collect()
            raise
        return connection

    def on_ready(self) -> None:
        """It listens."""
        if self._complained_at is not None:
            logger.info("the broker is back: bells are heard again")
            self._complained_at = None
        self._look_at_broker()
        super().on_ready()

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """The broker does not want us."""
        self._complain(f"no connection to the broker at {self.conninfo.as_uri()}", exc)
        self._rest()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The connection is gone, or what we asked for on it was refused."""
        self._complain(f"lost the broker at {self.conninfo.as_uri()}", exc)
        super().on_connection_error_after_connected(exc)
        self._rest()

    def _complain(self, what: str, error: Exception) -> None:
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= COMPLAIN_EVERY:
            self._complained_at = now
            why = " ".join(str(error).split())[:300] or type(error).__name__
            logger.warning("%s: no bells are heard, tasks are found by polling; trying again (%s)", what, why)

    def _rest(self) -> None:
        """Before the next try: not at all after a connection that lasted, else longer and longer."""
        lasted = time.monotonic() - self._began >= LASTED
        self._pause = 0.0 if lasted else min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        end = time.monotonic() + self._pause
        while time.monotonic() < end:
            maybe_shutdown()
            time.sleep(0.1)
        self._began = time.monotonic()

    # Queues that RabbitMQ has otherwise than we ask for: it closes the channel, and Celery would reconnect for ever.

    def _choose_queues(self, connection: Any) -> None:
        self.app.amqp.queues.select(list(self._ours))
        self.app.amqp.queues.deselect(
            [name for name, queue in self._ours.items() if not self._declare(connection, queue)]
        )

    def _declare(self, connection: Any, queue: Queue) -> bool:
        channel = connection.channel()
        try:
            queue(channel).declare()
        except connection.channel_errors as error:
            if getattr(error, "code", None) != OTHER_ARGUMENTS:
                raise
            self._refused(queue.name, error)
            return False
        channel.close()
        self.refused.pop(queue.name, None)
        return True

    def _refused(self, queue: str, error: Exception) -> None:
        sentence = (
            f"the queue {queue} is in RabbitMQ with other arguments than ours: its bells are not heard, its tasks are "
            f"found by polling; delete it (rabbitmqctl delete_queue {queue}) and it is made anew"
        )
        if queue not in self.refused:
            logger.warning("%s (%s)", sentence, " ".join(str(error).split())[:300])
        self.refused[queue] = sentence

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery's moment for what has to be done again and again on this connection."""
        super().register_with_event_loop(hub)
        hub.timer.call_repeatedly(LOOK_AGAIN, self._look_again)

    def _look_at_broker(self) -> None:
        # In a thread of its own: this one listens.
        if self._survey is None or not self._survey.is_alive():
            self._survey = threading.Thread(target=self._survey_broker, name="survey", daemon=True)
            self._survey.start()

    def _survey_broker(self) -> None:
        try:
            found = lacks(self.app)
        except Exception as error:  # it may be forbidden to ask, and a broker that is away is told elsewhere
            logger.debug("could not ask the broker how it is: %s", error)
            return
        for sentence in found:
            if sentence not in self.lacks:
                logger.warning("%s", sentence)
        self.lacks = found

    def _look_again(self) -> None:
        if self.lacks:
            self._look_at_broker()
        for name in list(self.refused):
            if self.connection is not None and self._declare(self.connection, self._ours[name]):
                self.add_task_queue(name)
                logger.info("the queue %s is ours again: its bells are heard", name)

    # Listening.

    def loop(self, *args: Any) -> None:
        """Celery's loop. What nobody thought of costs it a connection, and not the worker."""
        maybe_shutdown()  # Celery's loop waits before it ends, and of a signal that has come no descriptor says a word
        try:
            (asynloop if self.hub else synloop)(*args)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:
            logger.exception("reading from the broker failed")
            raise Unreadable(f"{type(error).__name__}: {error}") from error

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """What is done with a message. Not Celery's: it would do as it is told by callbacks, chains and times in it."""
        ring = self.app.tasks[TASK]

        def on_message(message: Any) -> None:
            try:
                handler = handler_of(message)
            except NotABell as fault:
                self._dropped(fault)
                message.reject_log_error(logger, self.connection_errors)
                return
            message.ack_log_error(logger, self.connection_errors)
            ring(handler)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Kombu's, for a message that it reads before we do."""
        self._dropped(exc)
        message.reject_log_error(logger, self.connection_errors)

    def _dropping(self, read: Callable[..., object]) -> Callable[..., None]:
        """Read from a broker that stores what it is given, as it is: what is no message is taken out by the reading."""

        def on_readable(*args: Any) -> None:
            try:
                read(*args)
            except Empty:
                raise
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                self._dropped(error)

        return on_readable

    def _dropped(self, error: Exception) -> None:
        what = str(error) if isinstance(error, NotABell) else f"{type(error).__name__}: {error}"
        logger.warning("dropped a message that is no bell: %s", " ".join(what.split())[:300])
