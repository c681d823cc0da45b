"""Raw requests to a daemon, as no client would send them, and its events."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from support.daemon import LiveDaemon

BY_PEER = bool(os.environ.get("ORLOP_TEST_PEER"))  # it is Docker itself that is asked


def ask(
    daemon: LiveDaemon, request: str, body: str = "", content_type: str = "application/json"
) -> tuple[int, dict[str, str], str]:
    """Returns status, headers, body."""
    length = f"Content-Length: {len(body.encode())}\r\nContent-Type: {content_type}\r\n" if body else ""
    if not body and not request.startswith(("GET", "HEAD")):
        length = "Content-Length: 0\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(daemon.socket))
        connection.sendall(f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n{body}".encode())
        said = b""
        while chunk := connection.recv(65536):
            said += chunk
    head, _, text = said.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        text = "".join(re.split(r"(?:^|\r\n)[0-9a-f]+\r\n", text))
    return int(status.split()[1]), headers, text


class Api:
    """One version of the API of one daemon. `call` gives status and the JSON of the answer."""

    def __init__(self, daemon: LiveDaemon, version: str) -> None:
        self.daemon = daemon
        self.version = version

    def call(self, method: str, path: str, body: object = None, **query: object) -> tuple[int, Any]:
        spelled = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
        target = f"{path}?{urlencode(spelled)}" if query else path
        text = "" if body is None else json.dumps(body)
        status, _, answer = ask(self.daemon, f"{method} /v{self.version}{target}", text)
        return status, json.loads(answer) if answer.strip() else None

    def ok(self, method: str, path: str, body: object = None, **query: object) -> Any:
        status, answer = self.call(method, path, body, **query)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def refused(self, status: int, method: str, path: str, body: object = None, **query: object) -> str:
        """The message of an answer that must have this status."""
        found, answer = self.call(method, path, body, **query)
        assert found == status, f"{method} {path}: {found} {answer}"
        assert set(answer) == {"message"}
        return str(answer["message"])

    def volume(self, name: str, **wish: object) -> Any:
        return self.ok("POST", "/volumes/create", {"Name": name, **wish})

    def names(self, **filters: object) -> list[str]:
        found = self.ok("GET", "/volumes", **({"filters": filters} if filters else {}))["Volumes"]
        return sorted(volume["Name"] for volume in found)

    def prune(self, **filters: object) -> list[str]:
        return sorted(self.ok("POST", "/volumes/prune", **({"filters": filters} if filters else {}))["VolumesDeleted"])

    @contextmanager
    def listening(self, **filters: object) -> "Iterator[Listening]":
        """To the events that come during the block."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.daemon.socket))
            query = urlencode({"filters": json.dumps(filters)})
            connection.sendall(f"GET /v{self.version}/events?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            said = b""
            while b"\r\n\r\n" not in said:
                said += connection.recv(65536)
            yield Listening(connection, said.partition(b"\r\n\r\n")[2])


class Listening:
    def __init__(self, connection: socket.socket, said: bytes) -> None:
        self._connection = connection
        self._said = said

    def until(self, action: str) -> list[dict[str, Any]]:
        """The events up to the first of this action, which is the last."""
        while True:
            events = [json.loads(line) for line in self._said.decode().split("\n")[:-1] if line.startswith("{")]
            actions = [event["Action"] for event in events]
            if action in actions:
                return events[: actions.index(action) + 1]
            chunk = self._connection.recv(65536)
            assert chunk, f"ended before {action}; so far {actions}"
            self._said += chunk
