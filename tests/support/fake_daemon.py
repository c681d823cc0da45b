"""A daemon of cardboard: it answers on a unix socket what a test laid out, and remembers what it was asked.

For what a live daemon does not do on demand: answers cut short, errors, strange versions, exact requests.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Asked:
    """One request as it arrived."""

    def __init__(self, method: str, target: str, body: bytes) -> None:
        parts = urlsplit(target)
        self.method = method
        self.path = unquote(parts.path)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeDaemon:
    """`answers` maps "METHOD /path" (without the version) to a status, a JSON value, (status, JSON value), or a
    function that writes the whole answer itself. A context manager."""

    def __init__(self, folder: Path, answers: Mapping[str, Any], api_version: str = "1.52") -> None:
        self.path = folder / "fake.sock"
        self.host = f"unix://{self.path}"
        self.answers = dict(answers)
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "unix"

            def answer(self) -> None:
                body = self.read_body()
                asked = Asked(self.command, self.path, body)
                version, _, path = asked.path[1:].partition("/")
                if version.startswith("v1."):
                    asked.path = f"/{path}"
                if asked.path == "/_ping":
                    self.reply(200, b"" if self.command == "HEAD" else b"OK", {"Api-Version": api_version})
                    return
                fake.asked.append(asked)
                reply = fake.answers.get(f"{self.command} {asked.path}")
                if reply is None:
                    reply = (404, {"message": f"nothing laid out for {self.command} {asked.path}"})
                if callable(reply):
                    reply(self)
                    return
                status, value = (
                    reply if isinstance(reply, tuple) else (reply, None) if isinstance(reply, int) else (200, reply)
                )
                self.reply(status, b"" if value is None else json.dumps(value).encode(), {})

            do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = answer

            def read_body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that goes away in the middle is no news."""

        self._server = Server(str(self.path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "FakeDaemon":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def last(self) -> Asked:
        return self.asked[-1]


def raw_answer(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer byte for byte, after which the connection ends."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return write


class Outcome:
    """How a run of the command went, and what the fake daemon was asked in it."""

    def __init__(self, status: int, out: str, err: str, fake: FakeDaemon) -> None:
        self.status, self.out, self.err, self.fake = status, out, err, fake


Run = Callable[..., Outcome]
