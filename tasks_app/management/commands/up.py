"""`manage.py up`: the whole system of one machine, supervised."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import sys
import time
from functools import partial
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection

from tasks_app import conf
from tasks_app.api_keys import digest
from tasks_app.management import shipped
from tasks_app.management.child import Child
from tasks_app.management.first_admin import first_admin
from tasks_app.management.platform_command import PlatformCommand
from tasks_app.management.supervisor import Supervisor
from tasks_app.models import ApiKey
from tasks_app.process_name import name_process

#: Seconds that a database server has to come up.
PATIENCE = 60.0


class Command(PlatformCommand):
    """Migrate, start web and worker, keep them alive, drain on Ctrl-C."""

    requires_system_checks = (*PlatformCommand.requires_system_checks, "web")
    help = "Migrate, then run the web server and one worker, supervised, until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs until it is told to stop."""
        name_process("tasks-up")
        engine = _choose_handlers()
        env = conf.environment()
        env.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._lock(env)
        self._port_is_free(env)
        self._migrate()
        password = first_admin()
        locked = self._say_where(env, password, engine)
        connection.close()  # the children have their own
        key = secrets.token_urlsafe(32)
        os.environ["TASKDAEMON_UP_KEY_DIGEST"] = digest(key)  # for the web server (api.bearer); the key stays here
        containers = {name: handler.instances for name, handler in conf.handlers().items() if handler.image}
        web, worker = (Child(name, partial(_run_alone, name, lock)) for name in ("web", "worker"))
        sys.exit(Supervisor(env, web, worker, self._say, containers, _example(), key, locked).run())

    def _lock(self, env: conf.Environment) -> int:
        lock = os.open(env.home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"another `up` runs on {env.home}; stop it first, or set DAEMON_HOME to another folder", returncode=2
            ) from None
        return lock

    def _migrate(self) -> None:
        """A server may come up with this machine: it is waited for."""
        until, told = time.monotonic() + PATIENCE, False
        while True:
            try:
                call_command("migrate", verbosity=0, interactive=False)
                return
            except OperationalError as error:
                if connection.vendor == "sqlite" or time.monotonic() > until:
                    raise
                if not told:
                    self._say(f"  waiting   {_where()} cannot be used yet: {' '.join(str(error).split())}")
                told = True
            connection.close()
            time.sleep(0.5)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _port_is_free(self, env: conf.Environment) -> None:
        family = socket.AF_INET6 if ":" in env.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((env.host, env.port))
            except OSError as error:
                raise CommandError(
                    f"cannot listen on {env.host}:{env.port}: {error.strerror}; "
                    f"stop what listens there, or set DAEMON_PORT to another port",
                    returncode=2,
                ) from None

    def _say_where(self, env: conf.Environment, password: str | None, engine: str) -> bool:
        """Answers whether calls need an API key."""
        base = address(env)
        handlers = conf.handlers()
        slots = ", ".join(f"{name} x{handler.instances}" for name, handler in handlers.items())
        self._say(f"  database  {_where()}")
        self._say(
            f"  broker    {'embedded (no server)' if env.embedded else (env.broker_url or '').rpartition('@')[2]}"
        )
        self._say(f"  handlers  {slots} ({handlers.path})")
        if engine:
            self._say(f"  engine    {engine}")
        self._say(f"  api       {base}/queue")
        self._say(f"  docs      {base}/docs")
        self._say(
            f"  admin     {base}/admin/" + (f"  user admin, password {password} (shown once)" if password else "")
        )
        made = ApiKey.objects.filter(revoked_at=None).count()
        locked = env.auth == "keys" and (env.exposed or ApiKey.objects.exists())
        if locked:
            self._say(f"  keys      {made} made; every call needs one: manage.py apikey create NAME")
        elif env.exposed:
            self._say("  keys      DAEMON_AUTH=off: open to whoever reaches this port")
        return locked


def _choose_handlers() -> str:
    """The shipped handlers in containers, where that is possible. Answers why, or why not."""
    choice = shipped.choose(conf.PROJECT, os.environ)
    if choice.config is None:
        return choice.why
    os.environ["HANDLER_CONFIG"] = str(choice.config)  # for the children too
    for read in (conf.environment, conf.handlers):
        read.cache_clear()
    return choice.why


def _run_alone(command: str, lock: int) -> None:
    """What a child does: the same as that command would alone."""
    os.close(lock)  # it is the supervisor's, and must not outlive it
    conf.handlers.cache_clear()  # a restart sees handlers.toml as it is now
    try:
        call_command(command, skip_checks=False)
    except CommandError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _where() -> str:
    """The database, for people; no password."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite {database['NAME']}"
    return f"{connection.vendor} {database['HOST']}:{database['PORT']}/{database['NAME']}"


def _example() -> str:
    """A task that these handlers take, as JSON."""
    names = list(conf.handlers())
    if "prime" in names:
        return '{"type": "prime", "data": {"limit": 1000000}}'
    return json.dumps({"type": names[0] if names else "echo", "data": {}})


def address(env: conf.Environment) -> str:
    """The base URL for a person on this machine."""
    host = "localhost" if env.host in (*conf.LOOPBACK, "0.0.0.0") else env.host
    return f"http://{host}:{env.port}"
