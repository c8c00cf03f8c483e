"""A second host: a network namespace with a name of its own, joined to this machine by one cable that can be cut."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from testkit.needs import need_root, program
from testkit.process import Process

#: Joins the two. RFC 2544 keeps it for tests: nobody's real network is in it.
NETWORK = "198.18"


def need_namespaces() -> None:
    """Where this machine cannot make a namespace the test is left out."""
    need_root("for a network namespace")
    program("ip")


class Host:
    """Reaches this machine at `there`, which reaches it at `here`, and nothing else. Use `close` at the end."""

    def __init__(self, name: str) -> None:
        mark = secrets.token_hex(3)
        self.name, self._space, self._near, self._far = name, f"td-{mark}", f"td-{mark}-a", f"td-{mark}-b"
        net = f"{NETWORK}.{secrets.randbelow(256)}.{secrets.randbelow(64) * 4}".rpartition(".")
        self.there, self.here = (f"{net[0]}.{int(net[2]) + one}" for one in (1, 2))
        _ip("netns", "add", self._space)
        try:
            _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._space)
            _ip("address", "add", f"{self.there}/30", "dev", self._near)
            _ip("-n", self._space, "address", "add", f"{self.here}/30", "dev", self._far)
            self.set_near("up")
            _ip("-n", self._space, "link", "set", self._far, "up")
            _ip("-n", self._space, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def set_near(self, state: str) -> None:
        """This machine's end of the cable, and with it the cable: `up` or `down`."""
        _ip("link", "set", self._near, state)

    def answer(self, answers: bool) -> None:
        """Whether what this machine sends reaches the host; what the host sends reaches this machine all the same."""
        _ip("route", "delete" if answers else "add", "blackhole", f"{self.here}/32")

    def start(self, folder: Path, environment: dict[str, str], *command: str) -> Process:
        """A command of ours on the host, with this environment and no other."""
        named = f'hostname {self.name} && exec "$@"'
        inside = (program("ip"), "netns", "exec", self._space, "unshare", "--uts", "sh", "-c", named, "sh")
        return Process(folder, environment, *command, inside=inside)

    def close(self) -> None:
        """The host is gone, and its cable with it."""
        subprocess.run(
            [program("ip"), "route", "delete", "blackhole", f"{self.here}/32"], capture_output=True, check=False
        )
        subprocess.run([program("ip"), "link", "delete", self._near], capture_output=True, check=False)
        _ip("netns", "delete", self._space)


def _ip(*words: str) -> None:
    done = subprocess.run([program("ip"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
