"""Where the daemon listens: `unix:///path` or `tcp://host:port`, as --host and DOCKER_HOST give it."""

import errno
import os
import socket
from collections.abc import Mapping

from orlop.client.errors import ClientError, Unreachable

DEFAULT_HOST = "unix:///var/run/docker.sock"
_CONNECT_SECONDS = 10.0


class Address:
    """A parsed address. Raises ClientError for a scheme that is not spoken here."""

    __slots__ = ("host", "path", "port", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.path = self.host = ""
        self.port = 0
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = ("unix", text) if text.startswith("/") else ("tcp", text)
            self.text = f"{scheme}://{rest}"
        if scheme == "unix" and rest:
            self.path = rest
        elif scheme == "tcp" and rest:
            self.host, self.port = _split_host_port(rest.rstrip("/"), text)
        else:
            raise ClientError(f"invalid host {text!r}: use unix:///path/to/socket or tcp://host:port", 125)

    def connect(self) -> socket.socket:
        """A connected socket. Raises Unreachable, with the way out."""
        try:
            if self.path:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    connection.connect(self.path)
                except BaseException:
                    connection.close()
                    raise
                return connection
            connection = socket.create_connection((self.host, self.port), _CONNECT_SECONDS)
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            raise Unreachable(_describe(self.text, error)) from error


def from_environment(option: str, environment: Mapping[str, str] = os.environ) -> Address:
    """The address that --host names, else ORLOP_HOST, else DOCKER_HOST, else Docker's own socket."""
    text = option or environment.get("ORLOP_HOST", "") or environment.get("DOCKER_HOST", "") or DEFAULT_HOST
    if text.startswith("tcp") and environment.get("DOCKER_TLS_VERIFY"):
        raise ClientError(
            "DOCKER_TLS_VERIFY is set, and TLS is not spoken yet: use a unix socket or an SSH tunnel", 125
        )
    return Address(text)


def _split_host_port(text: str, whole: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ClientError(f"invalid host {whole!r}: use tcp://host:port", 125)
    return host, int(port)


def _describe(address: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot reach the daemon at {address}: {reason}. Use sudo, or join the group that owns the socket"
    return (
        f"cannot reach the daemon at {address}: {reason}. "
        "Start it with `sudo orlop daemon`, or name another address with --host or DOCKER_HOST"
    )
