"""What starts the platform: its checks, the address, the first administrator and key, and how far the handlers are."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import Error, connection

from tasks_app import conf
from tasks_app.audit import record, system_account
from tasks_app.conf import Environment
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.keys.api_keys import KeyRefused, ensure
from tasks_app.logs import LogOnce, harmless
from tasks_app.node.record import NO_DEPLOYMENT, deployment_id
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import Deployment

#: The name of the key that the environment has, and its variable.
KEY_NAME = "DAEMON_API_KEY"
#: Between two questions how far the handlers are.
POLL_SECONDS = 0.1
#: What reserves the addresses, until this process, and each that it forked, has ended.
_reserved: list[socket.socket] = []
# A proxy that the environment names (`http_proxy`) cannot reach this machine's loopback.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: What `tdctl` calls if nothing says where the platform is.
_TDCTL_DEFAULT = ("http://127.0.0.1:8080", "http://localhost:8080")


class PlatformCommand(BaseCommand):
    """Before it runs, reports all faults of the configuration at once; if there are any, exits with 2."""

    requires_system_checks: tuple[str, ...] = ("tasks_app",)

    def check(self, *args: Any, **options: Any) -> None:
        """Like Django's, with exit code 2."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise


def database_fault() -> str | None:
    """Why the database cannot be used now, and what to do; None if it can. Leaves no connection open."""
    try:
        deployment_id()
    except Error as error:
        return store().advice(error)
    except Deployment.DoesNotExist:
        return NO_DEPLOYMENT
    finally:
        connection.close()
    return None


def program() -> str:
    """What a user types here before the name of a command. A path that leads into this folder is relative."""
    if not conf.INSTALLED:
        return f"{_near(Path(sys.executable))} {conf.PROGRAM}"
    return _script(conf.PROGRAM, "taskdaemon_site")


def _script(name: str, module: str) -> str:
    """What a user types here to run a script of this Python, which runs `module`."""
    python = Path(sys.executable)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if os.environ.get("VIRTUAL_ENV") != sys.prefix:  # uvx has this folder on the PATH of this process alone
        folders = [folder for folder in folders if folder != str(python.parent)]
    if shutil.which(name, path=os.pathsep.join(folders)):
        return name
    script = python.with_name(name)
    return _near(script) if script.exists() else f"{_near(python)} -m {module}"


def _near(path: Path) -> str:
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near


def reserve(host: str, port: int) -> str | None:
    """As `listening_fault`, and nobody else may listen there from now on, also on an address that this one contains.

    The kernel lets web servers of one user share a port (granian sets SO_REUSEPORT), and gives each some of the calls.
    """
    if sys.platform != "linux":
        return listening_fault(host, port)
    bound = _bound(host, port)
    if isinstance(bound, str):
        return bound
    # Another reservation lacks SO_REUSEPORT when it is bound, so this one refuses it; granian's socket has it.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _reserved.append(bound)
    return None


def listening_fault(host: str, port: int) -> str | None:
    """Why the address cannot be used, and which variable to change; None if it can."""
    bound = _bound(host, port)
    if isinstance(bound, str):
        return bound
    bound.close()
    return None


def resolved(host: str, port: int) -> tuple[int, Any]:
    """The family and the address of a host's name, an IPv4 one if there is one. Raises OSError."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min((int(family), address) for family, _, _, _, address in addresses)


def _bound(host: str, port: int) -> socket.socket | str:
    """A socket that is bound to the address, or `listening_fault`."""
    where = f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}"
    try:
        family, address = resolved(host, port)
    except OSError as error:
        return f"{where}: {error.strerror}; set DAEMON_HOST to an address of this machine (127.0.0.1; 0.0.0.0: all)"
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        return f"{where}: {error.strerror}; {_advice(error.errno)}"
    return bound


def _advice(number: int | None) -> str:
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address: set DAEMON_HOST to one of its own (127.0.0.1; 0.0.0.0: all of them)"
    if number == errno.EACCES:
        return "ports below 1024 need root: set DAEMON_PORT to another port"
    return "stop the program that listens there, or set DAEMON_PORT to another port"


def create_environment_key(env: Environment) -> bool:
    """Store DAEMON_API_KEY; returns whether it was new. Raises CommandError if it is refused."""
    if not env.api_key:
        return False
    try:
        with writing():
            made = ensure(KEY_NAME, env.api_key)
            if made:
                record(system_account(), "create_key", KEY_NAME)
    except KeyRefused as error:
        raise CommandError(f"{KEY_NAME}: {error}", returncode=2) from None
    return made


def first_admin(password: str | None = None) -> str | None:
    """Create the user `admin` if there is no user, with this password or a random one.

    Returns the password, which is stored nowhere in the clear; None if there are users.
    """
    users = get_user_model().objects
    with writing():
        if users.exists():
            return None
        password = password or secrets.token_urlsafe(12)
        users.create_superuser("admin", None, password)
        record(system_account(), "add_user", "admin")
    return password


def administrator() -> str | None:
    """The name of a superuser, or None."""
    first = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    return None if first is None else first.get_username()


def open_directly(request: urllib.request.Request | str, timeout: float) -> HTTPResponse:
    """As urlopen, without a proxy."""
    answer: HTTPResponse = _DIRECT.open(request, timeout=timeout)
    return answer


#: Of a handler's problem.
MAX_PROBLEM_CHARS = 500


class Warming:
    """The handlers' progress at a start: printed while they start, and awaited before `ready`. Polls /api/metrics."""

    def __init__(self, base: str, handlers: Mapping[str, Handler], say: Callable[[str], None], key: str = "") -> None:
        """`key`: the API key for the requests."""
        self._request = urllib.request.Request(f"{base}/api/metrics", headers={"Authorization": f"Bearer {key}"})
        self._instances = {name: handler.instances for name, handler in handlers.items()}
        self._images = [name for name, handler in handlers.items() if handler.image]
        self._problems: dict[str, str] = {}
        self._say = say
        self._print_once = LogOnce()
        self._poll_at = 0.0
        self._finished = not handlers

    def broken(self) -> Mapping[str, str]:
        """The handlers without a container, each with its reason; valid once `finished`."""
        return self._problems

    def working(self) -> list[str]:
        """The handlers with a container."""
        return [name for name in self._instances if name not in self._problems]

    def finished(self) -> bool:
        """Whether every slot is warm or has a known problem. Prints what is new."""
        now = time.monotonic()
        if not self._finished and now >= self._poll_at:
            self._poll_at = now + POLL_SECONDS
            metrics = self._handler_metrics()
            self._finished = metrics is None or self._update(metrics)
        return self._finished

    def _update(self, metrics: Mapping[str, Any]) -> bool:
        seen = {name: metrics.get(name) or {} for name in self._instances}
        warm = {name: its.get("idle", 0) + its.get("active", 0) for name, its in seen.items()}
        if self._images:
            line = "  warming   " + ", ".join(f"{name} {warm[name]}/{self._instances[name]}" for name in self._images)
            if self._print_once.is_due(line):
                self._say(line)
        self._problems = {
            name: shown(its["problems"][0]) for name, its in seen.items() if its.get("problems") and not warm[name]
        }
        return all(warm[name] >= all_ or seen[name].get("problems") for name, all_ in self._instances.items())

    def _handler_metrics(self) -> Mapping[str, Any] | None:
        """The metrics of each handler; None if the request is refused."""
        try:
            with open_directly(self._request, timeout=2) as answer:
                return dict(json.load(answer)["handlers"])
        except urllib.error.HTTPError as error:
            return None if error.code < 500 else {}
        except (OSError, ValueError, KeyError):
            return {}


def shown(problem: str) -> str:
    """What a handler has written, for a terminal: on one line, bounded, and unable to control it."""
    return harmless(" ".join(problem[:MAX_PROBLEM_CHARS].split()))


def first_task(base: str, key: str, names: Sequence[str]) -> str:
    """A command to copy that queues a task for one of these handlers, waits for it, and writes its result.

    `base`: the platform's address. `key`: the text for the API key, "" if calls need none.
    """
    name, data = ("prime", f" '{json.dumps({'limit': 1000000})}'") if "prime" in names else (names[0], "")
    variable = f'TASKDAEMON_API_KEY="{key}" ' if key else ""
    where = "" if base in _TDCTL_DEFAULT and not _calls_another() else f" --url {base}"
    return f"{variable}{_script('tdctl', 'tdctl')} submit {name}{data} --wait{where}"


def _calls_another() -> bool:
    """Whether the user's variables or file of profiles may lead `tdctl` to another platform."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    named = os.environ.get("TASKDAEMON_URL") or os.environ.get("TASKDAEMON_PROFILE")
    return bool(named) or (folder / "taskdaemon/config.toml").exists()
