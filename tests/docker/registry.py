"""An image registry on loopback with one image, which it serves when a test allows it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testkit.images.docker import add

TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _layer() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        add(tar, "unlike-any-other", secrets.token_hex())
    return made.getvalue()


class Registry:
    """Serves the result of `docker save`, and one new layer that it holds back until `release` is set."""

    def __init__(self, saved: bytes) -> None:
        self.release = threading.Event()
        self.asked = threading.Event()
        """The held layer was requested."""
        self._blobs: dict[str, bytes] = {}
        self._manifest = self._read(saved)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._request_handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def _read(self, saved: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:

            def content(name: str) -> bytes:
                file = tar.extractfile(name)
                assert file is not None
                return file.read()

            (image,) = json.loads(content("manifest.json"))
            layers = [self._keep(gzip.compress(content(name), 1), LAYER) for name in image["Layers"]]
            settings = json.loads(content(image["Config"]))
        new = _layer()
        layers.append(self._keep(gzip.compress(new), LAYER))
        self._held = layers[-1]["digest"]
        settings["rootfs"]["diff_ids"].append(_digest(new))
        settings.pop("history", None)
        config = self._keep(json.dumps(settings).encode(), CONFIG)
        return json.dumps({"schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": layers}).encode()

    def _keep(self, blob: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(blob)
        self._blobs[digest] = blob
        return {"mediaType": kind, "size": len(blob), "digest": digest}

    def _request_handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                if name == registry._held:
                    registry.asked.set()
                    registry.release.wait(60)
                if "/manifests/" in self.path:
                    self._send(registry._manifest, TYPE)
                elif name in registry._blobs:
                    self._send(registry._blobs[name], "application/octet-stream")
                else:
                    self._send(b"{}", "application/json")

            do_HEAD = do_GET

            def _send(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
