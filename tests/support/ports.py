"""Ports on loopback for the servers that tests start: never the same one twice, whichever test asks.

Tests run in several processes at once, and a port that was seen free may be taken a moment later by another test's
server, or by anybody's connection if it is one that the kernel gives out. So ports come from below those, and each is
reserved by a name among abstract sockets that lasts as long as this process.
"""

import os
import socket
from pathlib import Path

_FIRST, _END = 11000, 21000
_ABOVE = 10000  # SeaweedFS opens a second port so far above each of its own
_reserved: dict[int, socket.socket] = {}
_next = _FIRST + os.getpid() * 37 % (_END - _FIRST)


def free_ports(count: int) -> list[int]:
    """The second ports above them are free too."""
    global _next
    found: list[int] = []
    for _ in range(_END - _FIRST):
        if len(found) == count:
            return found
        port, _next = _next, _FIRST + (_next + 1 - _FIRST) % (_END - _FIRST)
        if _reserve(port) and is_free(port) and is_free(port + _ABOVE):
            found.append(port)
    raise AssertionError("no free ports")


def free_port() -> int:
    return free_ports(1)[0]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(path: Path) -> bool:
    """Whether somebody answers at a unix socket: its file is there before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _reserve(port: int) -> bool:
    if port in _reserved:
        return False
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0orlop-test-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved[port] = name
    return True
