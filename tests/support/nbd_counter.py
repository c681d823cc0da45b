"""An NBD server that remembers what it was asked, in order: what was written, and when it was told to see to it that
that is there for good. One device, in memory; one client after the other.
"""

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType

_OPTION, _REPLY = 0x49484156454F5054, 0x3E889045565A9
_REQUEST, _SIMPLE_REPLY = 0x25609513, 0x67446698
_OPT_ABORT, _OPT_GO = 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, 1 << 31 | 1
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_FLAGS = 1 | 1 << 2  # it takes flushes; neither FUA nor trim nor zeroes
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3


class NbdCounter:
    """A context. `asked` holds "write" and "flush"."""

    def __init__(self, size_bytes: int = 1 << 20) -> None:
        self._disk = bytearray(size_bytes)
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "NbdCounter":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def options(self) -> dict[str, str]:
        return {"protocol": "nbd", "host": "127.0.0.1", "port": str(self.port), "export": "disk"}

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link, suppress(OSError, EOFError):
                if self._agree(link):
                    self._answer(link)

    def _agree(self, link: socket.socket) -> bool:
        link.sendall(b"NBDMAGIC" + struct.pack(">QH", _OPTION, _FIXED_NEWSTYLE | _NO_ZEROES))
        _exactly(link, 4)
        while True:
            _, option, length = struct.unpack(">QII", _exactly(link, 16))
            _exactly(link, length)
            if option == _OPT_GO:
                found = struct.pack(">HQH", 0, len(self._disk), _FLAGS)
                link.sendall(struct.pack(">QIII", _REPLY, option, _INFO, len(found)) + found)
            if option in (_OPT_GO, _OPT_ABORT):
                link.sendall(struct.pack(">QIII", _REPLY, option, _ACK, 0))
                return bool(option == _OPT_GO)
            link.sendall(struct.pack(">QIII", _REPLY, option, _UNSUPPORTED, 0))

    def _answer(self, link: socket.socket) -> None:
        while True:
            _, _, kind, cookie, begin, length = struct.unpack(">IHHQQI", _exactly(link, 28))
            found = b""
            if kind == _DISCONNECT:
                return
            if kind == _READ:
                found = bytes(self._disk[begin : begin + length])
            elif kind == _WRITE:
                self._disk[begin : begin + length] = _exactly(link, length)
                self.asked.append("write")
            elif kind == _FLUSH:
                self.asked.append("flush")
            link.sendall(struct.pack(">IIQ", _SIMPLE_REPLY, 0, cookie) + found)


def _exactly(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = link.recv(count - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found
