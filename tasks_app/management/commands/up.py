"""`manage.py up`: runs everything on one machine, supervised."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sys
import time
from functools import partial
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.db.models import Q
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.keys.api_keys import ApiKey, digest
from tasks_app.management import shipped
from tasks_app.management.starting import (
    PlatformCommand,
    administrator,
    create_environment_key,
    first_admin,
    listening_fault,
    program,
)
from tasks_app.management.supervisor import Child, Supervisor
from tasks_app.process import name_process
from tasks_app.queue.current import store

#: For a database server that starts at the same time.
DATABASE_TIMEOUT_SECONDS = 60.0
#: In DAEMON_HOME; locked while an `up` runs.
LOCK = "up.lock"


class Command(PlatformCommand):
    """Migrates, starts web and worker, keeps them running, drains on Ctrl-C."""

    requires_system_checks = (*PlatformCommand.requires_system_checks, "web", "home")
    help = "Migrate, then run the web server and one worker, supervised, until Ctrl-C or SIGTERM."

    def check(self, *args: Any, **options: Any) -> None:
        """Write the example into a folder where no `up` has run yet. Then check as its base does."""
        env = conf.environment()
        named = bool(os.environ.get("HANDLER_CONFIG"))
        if (
            conf.INSTALLED
            and not named
            and not (env.home / LOCK).exists()
            and shipped.write_example(env.handler_config)
        ):
            self._say(f"  example   wrote {shipped.PRIME} and handlers.toml, which names it: change them, add others")
        super().check(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal."""
        name_process("tasks-up")
        conf.version()  # of the files that are loaded now: its children keep them
        engine = _choose_handlers()
        env = conf.environment()
        env.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._lock(env)
        if fault := listening_fault(env.host, env.port):
            raise CommandError(fault, returncode=2)
        self._migrate()
        password = first_admin(env.admin_password)
        if create_environment_key(env):
            self._say("  keys      created the key of DAEMON_API_KEY")
        needs_key = self._say_where(env, password, engine)
        bearer = ("$DAEMON_API_KEY" if env.api_key else "KEY") if needs_key else ""
        connection.close()  # children must not inherit it
        key = secrets.token_urlsafe(32)
        os.environ["TASKDAEMON_UP_KEY_DIGEST"] = digest(key)  # for the web server (keys.caller); the key stays here
        web, worker = (Child(name, partial(_run_command, name, lock)) for name in ("web", "worker"))
        sys.exit(Supervisor(env, web, worker, self._say, conf.handlers(), key, bearer).run())

    def _lock(self, env: conf.Environment) -> int:
        lock = os.open(env.home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"another `up` runs on {env.home}; stop it first, or set DAEMON_HOME to another folder", returncode=2
            ) from None
        return lock

    def _migrate(self) -> None:
        """Migrate. Waits for a database server that is still starting."""
        until, warned = time.monotonic() + DATABASE_TIMEOUT_SECONDS, False
        while True:
            try:
                call_command("migrate", verbosity=0, interactive=False)
                return
            except OperationalError as error:
                if not store().is_server or time.monotonic() > until:
                    raise
                if not warned:
                    self._say(f"  waiting   {store().advice(error)}")
                warned = True
            connection.close()
            time.sleep(0.5)

    def _say(self, text: str) -> None:
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except OSError as error:
            if error.errno in (errno.EIO, errno.EPIPE):
                # The terminal or pipe was closed. Without this, Python fails to flush at its end and exits with 120.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _say_where(self, env: conf.Environment, password: str | None, engine: str) -> bool:
        """Print the start's lines. Returns whether calls need an API key."""
        base = address(env)
        handlers = conf.handlers()
        slots = ", ".join(f"{name} x{handler.instances}" for name, handler in handlers.items())
        self._say(f"  database  {store().where()}")
        self._say(
            f"  broker    {'embedded (no server)' if env.embedded else (env.broker_url or '').rpartition('@')[2]}"
        )
        self._say(f"  handlers  {slots} ({handlers.path})")
        if engine:
            self._say(f"  engine    {engine}")
        self._say(f"  api       {base}/queue")
        self._say(f"  docs      {base}/docs")
        self._say(f"  admin     {base}/admin/  {_login(env, password)}")
        keys = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None).count()
        needs_key = env.auth == "keys" and (env.exposed or ApiKey.objects.exists())
        if needs_key:
            self._say(f"  keys      {keys} valid; every call needs one: {program()} apikey create NAME")
        elif env.exposed:
            self._say("  keys      DAEMON_AUTH=off: open to every client that reaches this port")
        return needs_key


def _choose_handlers() -> str:
    """Use the shipped handlers in containers if possible. Returns why, or why not."""
    config, why = shipped.choose(conf.FOLDER, os.environ)
    if config is not None:
        os.environ["HANDLER_CONFIG"] = str(config)  # for the children too
        conf.environment.cache_clear()
        conf.forget_handlers()
    return why


def _run_command(command: str, lock: int) -> None:
    """Run in a child what the command does by itself."""
    os.close(lock)  # the supervisor's lock must not outlive it
    conf.forget_handlers()  # a restart reads the current handlers.toml
    try:
        call_command(command, skip_checks=False)
    except CommandError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _login(env: conf.Environment, password: str | None) -> str:
    """How to log in to the admin. `password`: of the user that was just created, or None."""
    if password:
        return (
            f"user admin, password {'of DAEMON_ADMIN_PASSWORD' if env.admin_password else f'{password} (shown once)'}"
        )
    if (name := administrator()) is None:
        return f"no user can log in: {program()} createsuperuser"
    return f"user {name}; to set a new password: {program()} changepassword {name}"


def address(env: conf.Environment) -> str:
    """The base URL for users on this machine."""
    host = "localhost" if env.host in (*conf.LOOPBACK, "0.0.0.0", "::") else env.host
    return f"http://{f'[{host}]' if ':' in host else host}:{env.port}"
