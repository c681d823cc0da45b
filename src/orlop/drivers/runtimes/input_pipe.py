"""The pipe that is a supervised process's standard input, found among what its supervisor has open.

Input that goes through the supervisor is copied twice more, and waits for a third process to get its turn with every 32
KiB. Who has the pipe itself writes to it at once. The supervisor keeps its own descriptor of it, so that what ends the
input is what always did: the end of a client's connection.
"""

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress

PIPE_BYTES = 1 << 20  # what may wait in it for a reader; 64 KiB where nobody asks for more

_STANDARD_INPUT = "0"
_STREAMS = (_STANDARD_INPUT, "1", "2")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREDENTIALS = struct.Struct("3i")


def open_input(packets: socket.socket, pid: int) -> int:
    """A descriptor of the standard input of process `pid`, not blocking, the caller's to close; -1 where that is a
    terminal, or is not what its supervisor made it any more. `packets` is a connection to the supervisor. Its pipes get
    more room, those of the output too."""
    supervisor = _CREDENTIALS.unpack(packets.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    found: list[int] = []
    with suppress(OSError):  # one of them has ended
        streams = _streams_of(pid)
        directory = os.open(f"/proc/{supervisor}/fd", _DIRECTORY)
        try:
            for number in os.listdir(directory):
                with suppress(OSError):
                    _take(directory, supervisor, number, streams, found)
        finally:
            os.close(directory)
    for more in found[1:]:
        os.close(more)
    return found[0] if found else -1


def _streams_of(pid: int) -> dict[str, str]:
    """Of its first three descriptors those that are pipes, by the kernel's names for these."""
    directory = os.open(f"/proc/{pid}/fd", _DIRECTORY)
    try:
        streams = {}
        for stream in reversed(_STREAMS):
            with suppress(FileNotFoundError):
                streams[os.readlink(stream, dir_fd=directory)] = stream
        return {name: stream for name, stream in streams.items() if name.startswith("pipe:")}
    finally:
        os.close(directory)


def _take(directory: int, supervisor: int, number: str, streams: dict[str, str], found: list[int]) -> None:
    name = os.readlink(number, dir_fd=directory)
    stream = streams.get(name)
    # A process may put anything in the place of its first three. Only what its supervisor has open is looked at, and
    # only the end that belongs to the supervisor: it reads no input, and writes no output.
    if stream is None or _is_written(supervisor, number) != (stream == _STANDARD_INPUT):
        return
    access = os.O_WRONLY if stream == _STANDARD_INPUT else os.O_RDONLY
    fd = os.open(number, access | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if f"pipe:[{os.fstat(fd).st_ino}]" != name:
            raise OSError(errno.ESTALE, "another descriptor has its number by now", number)
        with suppress(PermissionError):  # more than this host lets us have: it stays as it is
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except BaseException:
        os.close(fd)
        raise
    if stream == _STANDARD_INPUT:
        found.append(fd)
    else:
        os.close(fd)


def _is_written(pid: int, number: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{number}") as facts:  # noqa: PTH123 - as cheap as it can be
        flags = next(int(line.split()[1], 8) for line in facts if line.startswith("flags:"))
    return flags & os.O_ACCMODE == os.O_WRONLY
