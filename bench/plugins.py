"""Cases about other people's volume plugins: the same plugin, at a place where every daemon looks."""

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from multiprocessing import get_context
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from bench.cases import case
from bench.http import Refused, timed
from bench.material import Material
from bench.peers import Peer

PLUGINS = Path("/run/docker/plugins")
ANSWERS = {
    "/Plugin.Activate": b'{"Implements": ["VolumeDriver"]}',
    "/VolumeDriver.Capabilities": b'{"Capabilities": {"Scope": "local"}}',
    "/VolumeDriver.List": b'{"Volumes": []}',
}


class _Handler(BaseHTTPRequestHandler):
    """A volume is there once it was created; nothing is stored, so that what is measured is the call."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    made: dict[str, bool] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = body.partition(b'"Name":"')[2].partition(b'"')[0].decode()
        answer = ANSWERS.get(self.path, b'{"Err": ""}')
        if self.path == "/VolumeDriver.Create":
            self.made[name] = True
        elif self.path == "/VolumeDriver.Remove":
            self.made.pop(name, None)
        elif self.path == "/VolumeDriver.Get" and name in self.made:
            answer = f'{{"Volume": {{"Name": "{name}", "Mountpoint": "/tmp"}}}}'.encode()
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def _serve(path: Path) -> None:
    _Server(str(path), _Handler).serve_forever()


@contextmanager
def plugin() -> Iterator[str]:
    """Its name."""
    name = f"bench{os.getpid()}{secrets.token_hex(2)}"
    PLUGINS.mkdir(parents=True, exist_ok=True)
    path = PLUGINS / f"{name}.sock"
    process = get_context("spawn").Process(target=_serve, args=(path,), daemon=True)
    process.start()
    try:
        while not path.exists():
            process.join(0.01)
        yield name
    finally:
        process.terminate()
        process.join()
        path.unlink(missing_ok=True)


@case("plugin: calls through the protocol", "calls/s", "≥ 1")
def plugin_calls(peer: Peer, material: Material) -> Generator[float, None, None]:
    """One inspect of a volume is one call of the plugin, with either engine."""
    with plugin() as name:
        peer.client.call("POST", "/volumes/create", {"Name": name, "Driver": name})
        volumes = [f"{name}-{number}" for number in range(200)]
        for volume in volumes:
            peer.client.call("POST", "/volumes/create", {"Name": volume, "Driver": name})
        try:
            while True:
                # Each but once a round: of what was looked at a moment ago Orlop tells from memory.
                yield len(volumes) / timed(lambda: [peer.client.call("GET", f"/volumes/{each}") for each in volumes])
        finally:
            for volume in (name, *volumes):
                with suppress(Refused):
                    peer.client.call("DELETE", f"/volumes/{volume}?force=1")


@case("plugin: volume create and remove", "ms", "≤ 1")
def plugin_volumes(peer: Peer, material: Material) -> Generator[float, None, None]:
    with plugin() as name:
        while True:
            yield timed(lambda: _live(peer, name, 50)) / 50 * 1000


def _live(peer: Peer, driver: str, count: int) -> None:
    for number in range(count):
        peer.client.call("POST", "/volumes/create", {"Name": f"{driver}-{number}", "Driver": driver})
        peer.client.call("DELETE", f"/volumes/{driver}-{number}")
