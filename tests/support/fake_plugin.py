"""A volume plugin that does as it is told: answers well, or late, or wrong, or not at all.

Volumes are directories below `root`; what it has mounted it counts by id, as plugins are asked to. `script` says for a
method what to do instead, once for each entry: a `Misdeed`, or an answer's body.
"""

import contextlib
import json
import socket
import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Misdeed:
    """What a plugin should not do."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        hangs: bool = False,
        closes: bool = False,
        dribbles: bool = False,
    ) -> None:
        self.status, self.body, self.hangs, self.closes, self.dribbles = status, body, hangs, closes, dribbles


HANGS, CLOSES = Misdeed(hangs=True), Misdeed(closes=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    plugin: "FakePlugin"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.plugin.opened(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # whoever asked has left
            super().handle()

    def finish(self) -> None:
        self.server.plugin.ended(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = self.path.removeprefix("/").removeprefix("VolumeDriver.")
        plugin = self.server.plugin
        deed = plugin.deed(method, body)
        if isinstance(deed, Misdeed):
            if deed.hangs:
                plugin.released.wait()
            if deed.hangs or deed.closes:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(deed.status, deed.body, plugin.released if deed.dribbles else None)
        else:
            self._send(200, json.dumps(deed).encode())

    def _send(self, status: int, body: bytes, slowly: threading.Event | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if slowly is None:
            self.wfile.write(body)
            return
        with contextlib.suppress(OSError):  # whoever listened has left
            for byte in body:
                self.wfile.write(bytes([byte]))
                if slowly.wait(0.02):
                    return

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *arguments: Any) -> None:
        """A test reads `calls`."""


class FakePlugin:
    """`start` and `stop` as often as wanted; volumes stay, mounts do not."""

    def __init__(self, directory: Path, root: Path, name: str = "fake", scope: str = "global") -> None:
        self.socket = directory / f"{name}.sock"
        self.root = root
        self.scope = scope
        self.volumes: dict[str, dict[str, Any]] = {}
        self.mounted: dict[str, list[str]] = defaultdict(list)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script: dict[str, list[Misdeed | Answer]] = defaultdict(list)
        self.always: dict[str, Misdeed | Answer] = {}
        self.before: Callable[[str], None] = lambda method: None
        self.released = threading.Event()  # ends what hangs
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: _Server | None = None

    def start(self) -> None:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self.released.clear()
        self._server = _Server(str(self.socket), _Handler)
        self._server.plugin = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self, leaves_socket: bool = False) -> None:
        """As after a crash its socket may be left behind."""
        self.released.set()
        self.mounted.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._open):  # as the end of its process would
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if not leaves_socket:
            self.socket.unlink(missing_ok=True)

    def opened(self, connection: socket.socket) -> None:
        self._open.add(connection)

    def ended(self, connection: socket.socket) -> None:
        self._open.discard(connection)

    def named(self, method: str) -> list[dict[str, Any]]:
        """What it was asked by that method."""
        return [request for called, request in self.calls if called == method]

    def deed(self, method: str, body: bytes) -> Misdeed | Answer:
        request = json.loads(body) if body else {}
        self.before(method)
        with self._lock:
            self.calls.append((method, request))
            if self.script[method]:
                return self.script[method].pop(0)
            if method in self.always:
                return self.always[method]
            return self._answer(method, request)

    def _answer(self, method: str, request: dict[str, Any]) -> Answer:
        name = request.get("Name", "")
        if method == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "Capabilities":
            return {"Capabilities": {"Scope": self.scope}}
        if method == "List":
            return {"Volumes": [self._told(each) for each in self.volumes], "Err": ""}
        if method == "Create":
            self.volumes.setdefault(name, request.get("Opts") or {})
            (self.root / name).mkdir(parents=True, exist_ok=True)
            return {"Err": ""}
        if method == "Get":
            return {"Volume": self._told(name), "Err": ""} if name in self.volumes else {"Err": ""}
        if name not in self.volumes:
            return {"Err": f"no volume {name}"}
        return self._use(method, name, request.get("ID", ""))

    def _use(self, method: str, name: str, use: str) -> Answer:
        if method == "Remove":
            if self.mounted[name]:
                return {"Err": f"volume {name} is mounted"}
            del self.volumes[name]
        if method == "Mount":
            self.mounted[name].append(use)
        if method == "Unmount":
            if use not in self.mounted[name]:
                return {"Err": f"volume {name} is not mounted for {use}"}
            self.mounted[name].remove(use)
        place = {"Mountpoint": str(self.root / name)} if method in ("Mount", "Path") else {}
        return {**place, "Err": ""}

    def _told(self, name: str) -> Answer:
        return {
            "Name": name,
            "Mountpoint": str(self.root / name),
            "CreatedAt": "2026-01-02T03:04:05Z",
            "Status": {"Colour": "green"},
        }
