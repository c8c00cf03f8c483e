"""What holds for every test."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import nullcontext, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from testkit import bare, turns
from testkit.daemon import Daemon
from testkit.emptied import without_flush
from testkit.foreground import as_in_the_foreground
from testkit.images.__main__ import ensure
from testkit.images.docker import Trouble
from testkit.migrated import sqlite
from testkit.needs import LEFT_OUT
from testkit.static_files import find_once
from testkit.stores import SQLiteStore, Store

settings.register_profile("long")
TESTS = Path(__file__).parent
#: Fixtures that give a test the tests' database, and one behind every deployment of a test's own.
DATABASE, DEPLOYMENT = {"db", "transactional_db", "django_db_setup"}, "migrated"
#: Deployments for which the embedded leg is enough (see bin/test.py), and why.
ONE_LEG = {
    "browser/test_activity.py": "what pages look like; what they read: tests/admin and tests/metrics",
    "browser/test_operator.py": "what pages offer; what becomes of it: system/test_operations.py",
    "browser/test_walk.py": "what pages look like",
    "features/test_without.py": "which applications Django loads",
    "faults/test_alerts.py": "on a server of its own",
    "faults/test_engine.py": "what becomes of an engine",
    "faults/test_hostile_messages.py": "on each broker in turn",
    "faults/test_log_storm.py": "the log of one process",
    "faults/test_pgbouncer.py": "on a server of its own",
    "faults/test_postgresql_disk.py": "on a server of its own",
    "faults/test_rabbitmq.py": "on a broker of its own",
    "faults/test_redis.py": "on a broker of its own",
    "faults/test_sqlite.py": "on SQLite",
    "system/test_follower.py": "what the tests check with",
    "system/test_live.py": "pages, and processes; the rows: node/test_live_log.py and queue/store/test_live_events.py",
    "system/test_log_fields.py": "the log lines of one process",
    "system/test_logs_command.py": "a client of the API",
    "system/test_notifications.py": "on each broker in turn, and what becomes of the sockets' files",
    "system/test_outage.py": "on a server of its own",
    "system/test_post_command.py": "a client of the API",
    "system/test_readme.py": "a first start without any server",
    "system/test_two_hosts.py": "on servers of its own",
    "system/test_up_ends.py": "signals to processes; what becomes of rows: system/test_rolling.py, test_stopping.py",
    "system/test_up_handlers.py": "what an engine has, before any server is asked",
    "system/test_up_hangup.py": "a signal to processes",
    "system/test_up_rebuilt.py": "what an engine has",
    "system/test_up_restarts.py": "what becomes of processes",
    "system/test_up_starts.py": "a first start without any server",
    "system/test_up_suspended.py": "signals to processes",
    "system/test_why.py": "what workers report; what the API reads of it: tests/features/why/test_api.py",
    "system/test_worker_alone.py": "the command lines of a worker",
}
#: Deployments that need no other broker than Redis and the embedded transport (see bin/test.py), and why.
ONE_BROKER = {
    "metrics/test_kills.py": "counts in the database",
    "system/test_attempts.py": "rows of attempts",
    "system/test_follow.py": "web servers that ask the database",
    "system/test_idempotency.py": "keys in the database",
    "system/test_kills.py": "rows of tasks and attempts; kills on RabbitMQ: chaos/test_short.py",
    "system/test_lost_node.py": "leases in the database",
    "system/test_operations.py": "rows of operations and tasks",
    "system/test_order.py": "the order in which the database gives tasks",
    "system/test_stopping.py": "signals to handlers",
    "system/test_up_replaced.py": "web servers behind a proxy",
    "system/test_waiting.py": "web servers that ask the database",
}
#: What takes long, longest first, and why: files, folders, single tests. Run by `make test ARGS=--all` and by .ci/run.
LONG = {
    "chaos/test_short.py": "faults under load",
    "deploy/test_compose.py": "upgrades of a whole deployment",
    "faults/": "kills, outages, full disks",
    "docker_handlers/": "deployments with containers, kills of the engine",
    "docker/test_engine_outages.py": "kills of an engine",
    "system/test_order.py": "hundreds of tasks",
    "system/test_two_hosts.py": "leases run out",
    "system/test_silent_nodes.py": "leases run out",
    "system/test_order_of_many.py": "hundreds of tasks",
    "system/test_rolling.py": "restarts under load",
    "browser/": "a browser",
    "system/test_previous_version.py": "deployments of two versions",
    "setup/test_bootstrap.py": "bootstraps from nothing",
    "metrics/test_kills.py": "kills",
    "api/test_schemathesis.py": "a fuzzer",
    "system/test_logs_command.py": "starts of workers",
    "system/test_post_command.py": "starts of workers",
    "system/test_why.py": "starts of workers",
    "features/history/test_admin.py::test_runs_are_read_along_the_key_however_many_there_are": "many rows",
    "api/test_list_filters.py::test_each_filter_and_each_pair_shows_what_a_scan_of_all_tasks_finds": "many rows",
    "api/test_list_filters.py::test_any_filters_together_show_what_a_scan_of_all_tasks_finds": "many rows",
    "system/test_up_ends.py": "starts of workers",
    "system/test_lost_node.py": "kills",
    "system/test_waiting.py": "servers of its own",
    "deploy/test_fifos.py": "a container that has the daemon",
    "clients/": "generators of clients, and their compilers",
    "broker/test_refused.py": "waits for a broker that refuses",
    "db/postgresql/test_encoding.py": "databases from nothing",
    "system/test_kills.py": "kills",
    "system/test_operations.py": "kills",
    "system/test_live.py": "kills, and a browser",
    "system/test_idempotency.py": "kills",
    "setup/test_legs.py": "collects all tests anew",
    "setup/test_whole_run.py": "runs of pytest",
    "queue/store/test_open_snapshot.py": "random moves",
    "queue/moves/test_conservation.py": "random moves",
    "system/test_fair_share.py": "hundreds of tasks",
    "system/test_pauses.py": "load, and what must not happen for seconds",
    "system/test_outage.py": "leases run out",
    "bench/test_ramp.py": "load",
    "bench/test_rows.py": "load",
    "docker/test_stopping.py": "times of grace",
    "bench/test_idempotency.py": "load",
    "bench/test_why.py": "load",
    "bench/test_constraints.py": "load",
    "bench/test_containers.py": "load",
    "metrics/test_real_problems.py": "outages",
    "system/test_notifications.py": "on each broker in turn",
    "web/test_downloads.py": "a server of its own, and megabytes",
    "conf/test_secret_rotation.py": "servers of its own",
    "web/test_streams.py::test_a_client_that_does_not_read_takes_no_memory_and_holds_up_nobody": "many megabytes",
    "web/test_streams.py::test_a_stream_ends_with_its_key": "servers of its own",
    "system/test_follow.py": "handlers that run for seconds, kills",
    "system/test_stopping.py": "drains",
    "docker/test_meddling.py": "containers that others stop",
    "system/test_up_handlers.py": "starts",
    "web/test_fast_path.py::test_a_database_that_takes_no_task_is_answered_as_the_view_does": "servers of its own",
    "web/test_fast_path.py::test_a_bug_is_answered_as_the_view_does": "servers of its own",
    "deploy/test_monitoring.py::test_each_query_of_the_dashboard_has_an_answer_from_a_live_system": "a live system",
    "broker/test_local_transport.py::test_two_celery_workers_receive_and_a_killed_ones_socket_goes": "starts",
    "broker/test_local_transport.py::test_no_socket_file_is_left_when_a_worker_ends": "starts of workers",
    "broker/test_notifications.py::test_a_notification_reaches_a_worker_of_its_handler_alone": "starts of workers",
    "web/test_fast_path.py::test_a_full_queue_is_answered_as_the_view_does": "servers of its own",
    "runner/test_pool.py::test_threads_and_descriptors_do_not_grow": "hundreds of calls",
    "web/test_http_protocol.py::test_a_few_seconds_of_the_fuzzer_find_nothing": "a fuzzer",
    "system/test_up_restarts.py": "kills",
    "system/test_worker_alone.py": "starts of workers",
    "features/test_without.py": "starts of workers",
    "examples/test_two_hundred.py": "a network that loses answers",
    "system/test_log_fields.py": "starts of workers",
    "system/test_up_hangup.py": "starts",
    "system/test_up_rebuilt.py": "starts",
    "system/test_up_replaced.py": "web servers behind a proxy",
    "docker/test_orphans.py": "kills",
    "docker/test_leaks.py": "containers that leave something behind",
    "web/test_fast_path.py::test_behind_tls_requests_are_answered_as_the_view_does": "servers of its own",
    "web/test_fast_path.py::test_a_rate_limit_and_a_stop_are_answered_as_the_view_does": "servers of its own",
    "examples/test_resize.py::test_a_picture_that_would_not_fit_a_reply_is_refused": "a large picture",
    "examples/test_resize.py::test_a_decompression_bomb_is_refused": "a large picture",
    "docker/test_many.py": "thousands of tasks",
}
#: What uses less than a seventh of a processor while it runs, longest first, and what it waits for. It takes no turn
#: from others (testkit/turns.py), and begins early: otherwise the end of a run waits for it with idle processors.
WAITING = {
    "runner/test_stopping.py": "times of grace",
    "faults/test_alerts.py": "conditions that must last",
    "runner/test_pool.py": "time-outs",
    "runner/test_calls.py": "times of grace",
    "runner/test_broken_calls.py": "time-outs",
    "runner/test_timeouts.py": "time-outs",
    "runner/test_pairing.py": "what must not happen",
    "docker/test_engine_outages.py": "an engine that is killed",
    "faults/test_engine.py": "an engine that is killed",
    "docker_handlers/test_engine_comes_back.py": "an engine that is killed",
    "faults/test_clock.py": "leases",
    "runner/test_following.py": "what handlers write in time",
    "docker/test_transports.py": "what must not happen",
    "faults/test_redis.py": "a server that is away",
    "faults/test_postgresql_disk.py": "a disk that is full",
    "docker/test_stopping.py": "times of grace",
    "docker/test_orphans.py": "engines that are killed",
    "web/test_http_protocol.py": "clients that say nothing",
    "docker/test_leaks.py": "what must not happen",
}


@pytest.fixture(scope="session")
def migrated() -> Iterator[Store]:
    """A database with its tables on the leg's server, to copy."""
    with TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        daemon = Daemon(Path(folder))
        if isinstance(daemon.store, SQLiteStore):
            daemon.store.fill(sqlite())
        else:
            daemon.handler("echo")
            assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
        yield daemon.store
        daemon.close()


def pytest_configure(config: pytest.Config) -> None:
    """With TEST_BARE, watch which tests start what a bare machine does not have (bin/test.py)."""
    as_in_the_foreground()
    without_flush()
    find_once()
    if bare.FOLDER in os.environ and not config.option.collectonly:
        bare.watch()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests and what they import stay: they are not looked through for garbage, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@cache
def _place(path: Path) -> str:
    return Path(os.path.relpath(path, TESTS)).as_posix()


def _row(item: pytest.Item) -> str | None:
    """The row of LONG that a test is in, or None."""
    path = _place(item.path)
    name = f"{path}::{getattr(item, 'originalname', item.name)}"
    return next((row for row in LONG if row in (path, name) or (row.endswith("/") and path.startswith(row))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test asks for says on which legs it runs, so that nobody can forget it."""
    of = {item: _row(item) for item in items}
    for item in items:
        if of[item]:
            item.add_marker(pytest.mark.long)
        if _place(item.path) in ONE_LEG:
            continue
        asks = set(getattr(item, "fixturenames", ()))
        marked = item.get_closest_marker("database") or item.get_closest_marker("system")
        if asks & DATABASE or item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)
        elif DEPLOYMENT in asks and not marked:
            item.add_marker(pytest.mark.system)
        if _place(item.path) in ONE_BROKER:
            item.add_marker(pytest.mark.one_broker)
    # The longest begin first, so that the end does not wait for one of them alone (xdist keeps this order). What waits
    # and what works take turns, so that the processors have work from the beginning.
    working = [one for one in LONG if one not in WAITING]
    places = {one: place for ones in (WAITING, working) for place, one in enumerate(ones)}
    items.sort(key=lambda item: places.get(_place(item.path), places.get(of[item] or "", len(LONG))))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for a turn, before the time limit of the test begins."""
    with nullcontext() if _place(item.path) in WAITING else turns.turn():
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and (reason := docker_fault()):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    try:
        with redirect_stdout(StringIO()):
            ensure()
    except Trouble as trouble:
        return str(trouble)
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all that was left out for want of something, and one for all other reasons to skip."""
    skips = [
        report.longrepr for report in terminalreporter.stats.get("skipped", ()) if isinstance(report.longrepr, tuple)
    ]
    reasons = Counter(" ".join(str(skip[2]).removeprefix("Skipped: ").split()) for skip in skips)
    for name, wants in (("left out", True), ("skipped", False)):
        said = [f"{number} {why}" for why, number in reasons.most_common() if why.startswith(LEFT_OUT) is wants]
        if said:
            terminalreporter.write_line(f"{name}: {'; '.join(said)}")
