"""The places the daemon listens on: unix sockets, and TCP on loopback.

Whoever reaches the API is root on this host, so TCP without TLS is refused anywhere but on loopback. A unix socket is
made with its final owner and mode before anyone can connect; a stale one is replaced, a live one belongs to another
daemon.
"""

import asyncio
import grp
import ipaddress
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orlop.errors import Conflict, HostFailure, Malformed, Unsupported
from orlop.model.value import dataclass

BACKLOG = 1024
SOCKET_MODE = 0o660


@dataclass(frozen=True, slots=True)
class Host:
    """Either a path or an address."""

    path: str = ""
    address: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    server: asyncio.Server | None
    path: str
    inode: int

    def close(self) -> None:
        """Stops accepting; removes the socket file if it is still ours."""
        if self.server is not None:
            self.server.close()
        if self.path:
            try:
                if Path(self.path).stat().st_ino == self.inode:
                    Path(self.path).unlink()
            except FileNotFoundError:
                pass


def parse_host(text: str) -> Host:
    """unix:///path, or tcp://ADDRESS:PORT on loopback. Raises Malformed, Unsupported."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("unix", text) if text.startswith("/") else ("", text)
    if scheme == "unix":
        if not rest.startswith("/") or rest.endswith("/"):
            raise Malformed(f"host {text}", "the path of a unix socket is absolute", "E.g. unix:///var/run/docker.sock")
        if len(os.fsencode(rest)) > 107:
            raise Malformed(f"host {text}", "the kernel allows no socket path over 107 bytes", "Choose a shorter one")
        return Host(path=rest)
    if scheme == "tcp":
        return _parse_tcp(text, rest)
    if scheme == "fd":
        raise Unsupported(f"host {text}", "socket activation is not supported", "Use unix:///var/run/docker.sock")
    raise Malformed(f"host {text}", "is neither unix:///PATH nor tcp://127.0.0.1:PORT")


def _parse_tcp(text: str, rest: str) -> Host:
    address, _, port = rest.rstrip("/").rpartition(":")
    address = address.strip("[]")
    if not port.isdigit() or int(port) > 65535:
        raise Malformed(f"host {text}", "names no port", "E.g. tcp://127.0.0.1:2375")
    if address == "localhost":
        address = "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise Malformed(f"host {text}", f"{address!r} is no IP address", "E.g. tcp://127.0.0.1:2375") from error
    if not is_loopback:
        raise Unsupported(
            f"host {text}",
            "TCP without TLS would make everyone who can reach this address root on this host",
            "Use a unix socket, tcp://127.0.0.1:PORT, or ssh: docker -H ssh://HOST",
        )
    return Host(address=address, port=int(port))


async def listen(host: Host, make: Callable[[], Any], group: str, socket_mode: int = SOCKET_MODE) -> Listener:
    """Raises Conflict where another daemon listens, HostFailure."""
    loop = asyncio.get_running_loop()
    try:
        if not host.path:
            server = await loop.create_server(make, host.address, host.port, backlog=BACKLOG, reuse_address=True)
            return Listener(server, "", 0)
        bound = _bind(host.path, group, socket_mode)
        server = await loop.create_unix_server(make, sock=bound, backlog=BACKLOG)
        return Listener(server, host.path, Path(host.path).stat().st_ino)
    except OSError as error:
        where = host.path or f"{host.address}:{host.port}"
        raise HostFailure(f"listen on {where}", error.strerror or str(error)) from error


def _bind(path: str, group: str, socket_mode: int) -> socket.socket:
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    _clear_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    # The mode is set through the umask, so that there is no moment at which the socket is open to others.
    before = os.umask(0o777 & ~socket_mode)
    try:
        bound.bind(path)
    finally:
        os.umask(before)
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        pass  # no such group on this host: root only
    except PermissionError:
        if os.geteuid() == 0:
            raise
    return bound


def _clear_stale(path: str) -> None:
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(
            f"listen on {path}", "a file that is no socket is in the way", "Move it or choose another --host"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            Path(path).unlink()
            return
    raise Conflict(
        f"listen on {path}",
        "another daemon answers there",
        "Stop it, or choose another socket with --host unix:///PATH",
    )
