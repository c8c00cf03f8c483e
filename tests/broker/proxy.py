"""A TCP proxy that can be cut and frozen: the network between a process and its broker."""

import contextlib
import selectors
import socket
import threading


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`.

    `cut`: connections end, new ones are refused. `freeze`: connections stay open and carry nothing. `mend`: everything
    works. `thaw`: new connections work, frozen ones stay open and never carry anything again (half-open).
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        self.frozen = False
        self.era = self.accepted = 0
        self.lock = threading.Lock()
        self.ends: list[socket.socket] = []
        self.listen()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()

    def listen(self) -> None:
        threading.Thread(target=self._accept, args=[self.server], daemon=True).start()

    def cut(self) -> None:
        with self.lock:
            with contextlib.suppress(OSError):
                self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()
            for end in self.ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self.ends.clear()

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.era += 1
        self.frozen = False

    def mend(self) -> None:
        self.cut()
        self.frozen = False
        self.server = socket.create_server(("127.0.0.1", self.port))
        self.listen()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = server.accept()[0]
                self.accepted += 1
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:  # the target is down; it may be up for the next connection
                    near.close()
                    continue
                with self.lock:
                    self.ends += [near, far]
                threading.Thread(target=self._carry, args=[near, far], daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        era = self.era
        with near, far, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    if not self.frozen and era == self.era:
                        key.data.sendall(data)
