"""A volume plugin that costs next to nothing: it stores no bytes, so that what is measured is the call of the engine.

It counts what it is asked, and tells by a call of its own: an engine that answers from memory has not called.
"""

import json
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

PLUGINS = Path("/run/docker/plugins")
_COUNT = "Bench.Count"
_DEADLINE_SECONDS = 20.0


class _Plugin:
    def __init__(self, places: Path) -> None:
        self.places = places
        self.made: set[str] = set()
        self.calls: dict[str, int] = {}

    def answer(self, method: str, body: bytes) -> bytes:
        self.calls[method] = self.calls.get(method, 0) + 1
        name = json.loads(body).get("Name", "") if body.strip() else ""
        match method:
            case "Plugin.Activate":
                return b'{"Implements": ["VolumeDriver"]}'
            case "VolumeDriver.Capabilities":
                return b'{"Capabilities": {"Scope": "local"}}'
            case "VolumeDriver.List":
                return json.dumps({"Volumes": [self._told(each) for each in self.made], "Err": ""}).encode()
            case "VolumeDriver.Get":
                return json.dumps({"Volume": self._told(name) if name in self.made else None, "Err": ""}).encode()
            case "VolumeDriver.Create":
                self.made.add(name)
            case "VolumeDriver.Remove":
                self.made.discard(name)
            case "VolumeDriver.Mount":
                (self.places / name).mkdir(exist_ok=True)
                return json.dumps({"Mountpoint": str(self.places / name), "Err": ""}).encode()
            case "Bench.Count":
                return json.dumps(self.calls).encode()
        return b'{"Err": ""}'

    def _told(self, name: str) -> dict[str, str]:
        return {"Name": name, "Mountpoint": str(self.places / name)}


def _serve(path: Path, places: Path) -> None:
    plugin = _Plugin(places)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_converse, args=(plugin, connection), daemon=True).start()


def _converse(plugin: _Plugin, connection: socket.socket) -> None:
    unread = b""
    with connection, suppress(OSError):
        while said := connection.recv(65536):
            unread += said
            while b"\r\n\r\n" in unread:
                head, _, rest = unread.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
                if len(rest) < length:
                    break
                body, unread = rest[:length], rest[length:]
                answer = plugin.answer(head.split(b" ", 2)[1].decode().lstrip("/"), body)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


@contextmanager
def plugin(folder: Path) -> Iterator[str]:
    """Its name. Nothing of it is left behind: daemons of this machine would look for it for as long as its file is
    there."""
    name = f"bench{os.getpid()}{secrets.token_hex(2)}"
    places = folder / name
    places.mkdir()
    PLUGINS.mkdir(parents=True, exist_ok=True)
    path = PLUGINS / f"{name}.sock"
    process = get_context("spawn").Process(target=_serve, args=(path, places), daemon=True)
    process.start()
    try:
        process.join(0.05)
        for _ in range(int(_DEADLINE_SECONDS / 0.02)):
            if path.exists() or not process.is_alive():
                break
            process.join(0.02)
        if not path.exists():
            raise RuntimeError("the plugin of the bench did not start")
        yield name
    finally:
        process.kill()
        process.join()
        path.unlink(missing_ok=True)
        shutil.rmtree(places, ignore_errors=True)


def calls_of(name: str) -> dict[str, int]:
    """How often it was asked what."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_DEADLINE_SECONDS)
        connection.connect(str(PLUGINS / f"{name}.sock"))
        connection.sendall(f"POST /{_COUNT} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
        found: dict[str, int] = json.loads(connection.recv(65536).partition(b"\r\n\r\n")[2])
        return found
