"""The thread of a process that evaluates alerts and sends them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.alerts import rows
from tasks_app.alerts.conditions import judge
from tasks_app.alerts.message import FIRING, RESOLVED, message
from tasks_app.alerts.outage import DatabaseOutage
from tasks_app.alerts.share import failed_shares
from tasks_app.alerts.webhook import NotSent, Webhook
from tasks_app.conf import Environment
from tasks_app.logs.log_once import REMINDER_SECONDS, LogOnce
from tasks_app.metrics.system_reading import current_reading
from tasks_app.models import Alert, Deployment
from tasks_app.store.current import store

log = structlog.get_logger(__name__)

MAX_INTERVAL_SECONDS = 10.0
#: For a call to the database.
DATABASE_TIMEOUT_SECONDS = 5.0
#: For so long after an outage of the database, and after a start, nothing is judged: nodes seem silent, and tasks old,
#: until the nodes have written their rows again.
TRUST_SECONDS = 15.0


def start(env: Environment, web: bool) -> None:
    """Watch from now on, if DAEMON_ALERT_URL is set. Call once in each process. `web`: it is a web server."""
    if env.alert_url is None:
        return
    watch = Watch(env, web)
    threading.Thread(target=watch.run, name="alerts", daemon=True).start()


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
                rows.probe()
                mine = self._trusts() and rows.take_round(self._interval * 0.9)
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
        shares = failed_shares() if reading.nodes else {}
        judgement = judge(reading, shares, env.alert_oldest, env.alert_failed_share)
        rows.observe(judgement, env.alert_hold, self._interval * 3 + DATABASE_TIMEOUT_SECONDS)
        if not self._deployment:
            self._deployment = str(Deployment.objects.values_list("pk", flat=True).first() or "")

    def _send(self) -> None:
        try:
            with store().limited(DATABASE_TIMEOUT_SECONDS):
                for row in rows.to_send():
                    if rows.take(row) and not self._send_one(row):
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
            rows.not_sent(row, str(error))
            return False
        rows.sent(row)
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
