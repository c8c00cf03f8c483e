"""A thread of each process that evaluates alerts, when it is its turn, and tells a webhook of their changes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.conf import Environment, environment
from tasks_app.features.alerts import alerts
from tasks_app.features.alerts.alerts import FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, RECOVERY_RATIO
from tasks_app.features.alerts.models import Alert
from tasks_app.logs import REMINDER_SECONDS, LogOnce, harmless
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Deployment
from tasks_app.runner.backoff import Backoff

log = structlog.get_logger(__name__)

#: The states of an alert in a message.
FIRING, RESOLVED = "firing", "resolved"


def message(
    alert: str,
    state: str,
    sentence: str,
    since: datetime | None,
    *,
    handler: str = "",
    details: Mapping[str, Any] | None = None,
    deployment: str = "",
) -> dict[str, Any]:
    """The JSON object. `text` is what Slack's and Mattermost's incoming webhooks show.

    `since`: when the condition began; of a resolved one, when it ended.
    """
    sentence = harmless(sentence)
    return {
        "alert": alert,
        "state": state,
        "handler": harmless(handler) or None,
        "sentence": sentence,
        "since": since.astimezone(UTC).isoformat() if since else None,
        "details": dict(details or {}),
        "deployment": deployment or None,
        "text": f"{'FIRING' if state == FIRING else 'Resolved'}: {alert.replace('_', ' ')}: `{_plain(sentence)}`",
    }


def _plain(text: str) -> str:
    """As code, and without what Slack takes for markup: a handler's text cannot notify a channel or make a link."""
    flat = " ".join(text.split()).replace("`", "'")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


#: For everything after the look-up of the host's name.
TIMEOUT_SECONDS = 10.0


class NotSent(Exception):
    """The webhook did not take the message. Its text has no part of the URL but the host."""


class Webhook:
    """A URL that takes a JSON object by POST."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._parts, self._timeout = urlsplit(url), timeout

    @property
    def shown(self) -> str:
        """Where it is, for people and logs: a path or a query may be a secret, as Slack's is."""
        port = f":{self._parts.port}" if self._parts.port else ""
        return f"{self._parts.scheme}://{self._parts.hostname}{port}/..."

    def post(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises NotSent, also for a redirect, which is not followed."""
        body = json.dumps(message, default=str).encode()  # ASCII: control characters are escapes
        connection = self._connection()
        done = threading.Event()
        threading.Thread(target=self._end_in_time, args=(connection, done), name="webhook-limit", daemon=True).start()
        try:
            connection.request("POST", _target(self._parts), body, _headers(self._parts))
            status = connection.getresponse().status
        except (OSError, HTTPException, ValueError) as error:
            raise NotSent(f"{self.shown} cannot be reached: {_reason(error)}") from None
        finally:
            done.set()
            connection.close()
        if not 200 <= status < 300:
            raise NotSent(f"{self.shown} answered {status}")

    def _connection(self) -> HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return HTTPSConnection(host, port, timeout=self._timeout, context=ssl.create_default_context())
        return HTTPConnection(host, port, timeout=self._timeout)

    def _end_in_time(self, connection: HTTPConnection, done: threading.Event) -> None:
        """The timeout of a socket is for each read: one that sends a byte a second would never end."""
        pause = self._timeout
        while not done.wait(pause):
            pause = 1.0
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "task-platform", "Connection": "close"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _reason(error: Exception) -> str:
    """The error without its arguments, which may quote a request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


DATABASE_UNREACHABLE = "database_unreachable"


class DatabaseOutage:
    """The alert for a database that cannot be used: a file in DAEMON_HOME records it.

    For one thread of a web server; those with the same `home` tell each outage, and its end, once. The file exists from
    when the webhook is told of an outage until it is told of its end, by this process or another. One that dies between
    a send and its file causes a second message.
    """

    def __init__(self, home: Path, hold: float, post: Callable[[dict[str, Any]], None]) -> None:
        self._told, self._lock = home / "database-alert.json", home / "database-alert.lock"
        self._hold, self._post = hold, post
        self._changed_at: float | None = None
        self._since = datetime.now(UTC)
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._retry_at = 0.0

    def observe(self, reachable: bool) -> None:
        """Note whether the database could be used. Sends what is due. Raises OSError, but not NotSent."""
        if reachable != self._told.exists():  # as the webhook was told
            self._changed_at = None
            return
        now = time.monotonic()
        if self._changed_at is None:
            self._changed_at, self._since = now, datetime.now(UTC)
        lasts = self._hold * (RECOVERY_RATIO if reachable else 1)
        if now - self._changed_at >= lasts and now >= self._retry_at:
            self._tell(reachable)

    def _tell(self, reachable: bool) -> None:
        file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process tells it
            if reachable == self._told.exists():
                self._send(reachable)
        except NotSent:
            self._retry_at = time.monotonic() + self._backoff.failed()
        finally:
            os.close(file)

    def _send(self, reachable: bool) -> None:
        if not reachable:
            sentence = "the database cannot be used: nothing is accepted and nothing is claimed"
            self._post(message(DATABASE_UNREACHABLE, FIRING, sentence, self._since))
            self._told.write_text(json.dumps({"since": self._since.isoformat()}))
        else:
            sentence, details = "the database can be used again", dict[str, Any]()
            with suppress(OSError, ValueError, KeyError, TypeError):
                began_at = datetime.fromisoformat(json.loads(self._told.read_text())["since"])
                sentence, details = alerts.over(sentence, began_at, self._since)
            self._post(message(DATABASE_UNREACHABLE, RESOLVED, sentence, self._since, details=details))
            self._told.unlink(missing_ok=True)
        self._backoff.succeeded()


MAX_INTERVAL_SECONDS = 10.0
#: For a call to the database.
DATABASE_TIMEOUT_SECONDS = 5.0
#: For so long after an outage of the database, and after a start, nothing is judged: nodes seem silent, and tasks old,
#: until the nodes have written their rows again.
TRUST_SECONDS = 15.0


def start(web: bool) -> None:
    """Watch from now on, if DAEMON_ALERT_URL is set. Web servers do too: someone has to tell that no node lives."""
    if (env := environment()).alert_url is not None:
        threading.Thread(target=Watch(env, web).run, name="alerts", daemon=True).start()


class Watch:
    """In every process: whichever lives evaluates. Each round is one process's."""

    def __init__(self, env: Environment, web: bool) -> None:
        assert env.alert_url is not None
        self._env, self._webhook = env, Webhook(env.alert_url)
        self._interval = min(MAX_INTERVAL_SECONDS, max(env.alert_hold / 3, 0.5))
        # Nodes may have another DAEMON_HOME for each host: only web servers tell of the database.
        self._outage = DatabaseOutage(Path(env.home), env.alert_hold, self._post) if web else None
        self._log_once = LogOnce(REMINDER_SECONDS)
        self._deployment = ""
        #: On the monotonic clock; None while the database cannot be used.
        self._reachable_since: float | None = None

    def run(self) -> None:
        """Until the process ends."""
        pause = threading.Event()
        while not pause.wait(self._interval):
            try:
                self.round()
            except Exception as error:  # the next round tries again
                if self._log_once.is_due("round"):
                    log.error("alerts cannot be evaluated", exc_info=error)

    def round(self) -> None:
        """Evaluate and send what is due, if it is this process's turn."""
        try:
            with store().limited(DATABASE_TIMEOUT_SECONDS):
                alerts.evaluated_at()  # raises also while nothing is judged
                mine = self._trusts() and alerts.take_round(self._interval * 0.9)
                if mine:
                    self._evaluate()
            reachable = True
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            mine = reachable = False
            self._reachable_since = None
            if self._log_once.is_due("database"):
                log.warning("alerts cannot be evaluated: the database cannot be used", error=str(error))
        if self._outage is not None:
            self._outage.observe(reachable)
        if mine:
            self._send()

    def _trusts(self) -> bool:
        now = time.monotonic()
        if self._reachable_since is None:
            self._reachable_since = now
        return now - self._reachable_since >= TRUST_SECONDS

    def _evaluate(self) -> None:
        reading = current_reading()
        env = self._env
        shares = alerts.failed_shares() if reading.nodes else {}
        judgement = alerts.judge(reading, shares, env.alert_oldest, env.alert_failed_share)
        for judged in (judgement, alerts.judge_logins(env.alert_failed_logins)):
            alerts.observe(judged, env.alert_hold, self._interval * 3 + DATABASE_TIMEOUT_SECONDS)
        if not self._deployment:
            self._deployment = str(Deployment.objects.values_list("pk", flat=True).first() or "")

    def _send(self) -> None:
        try:
            with store().limited(DATABASE_TIMEOUT_SECONDS):
                for row in alerts.to_send():
                    if alerts.take(row) and not self._send_one(row):
                        break  # the others wait for the next round: each may take as long
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            log.warning("an alert was not recorded as sent and may be sent again", error=str(error))

    def _send_one(self, row: Alert) -> bool:
        alert, _, handler = row.key.partition("|")
        state = FIRING if row.firing else RESOLVED
        try:
            self._post(
                message(
                    alert, state, row.sentence, row.since,
                    handler=handler, details=row.details, deployment=self._deployment,
                )
            )  # fmt: skip
        except NotSent as error:
            alerts.not_sent(row, str(error))
            return False
        alerts.sent(row)
        log.info("alert sent", alert=row.key, state=state)
        return True

    def _post(self, payload: dict[str, Any]) -> None:
        try:
            self._webhook.post(payload)
        except NotSent as error:
            if self._log_once.is_due("send"):
                log.warning("an alert could not be sent; it is tried again", alert=payload["alert"], error=str(error))
            raise
        self._log_once.forget("send")
