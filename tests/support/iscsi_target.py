"""Block devices to be reached over loopback: Debian's tgt for iSCSI, qemu-nbd for NBD. Each on a free port, its bytes
in a file, stopped by its process id."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.ports import free_port

NAME = "iqn.2026-11.test:disk1"
_SBIN = "/usr/sbin:/sbin"

needs_san = pytest.mark.skipif(
    os.geteuid() != 0
    or not shutil.which("qemu-storage-daemon")
    or not shutil.which("qemu-nbd")
    or not shutil.which("tgtd", path=_SBIN),
    reason="needs root, qemu-storage-daemon, qemu-nbd and tgt",
)


class IscsiTarget:
    """`start` and `stop` as often as wanted, always on the same port and with the same devices."""

    def __init__(self, place: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        """`prefix` stands in front of its command: in which namespace it runs."""
        self.place = place
        self.address = address
        self._prefix = prefix
        self.port = free_port()
        # Short, because the path of a unix socket ends at 107 characters.
        self._control = Path(tempfile.mkdtemp(prefix="tgt-"))
        self.luns: dict[int, Path] = {}
        self.chap: tuple[str, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def portal(self) -> str:
        return f"{self.address}:{self.port}"

    def lun(self, number: int, size_bytes: int = 64 << 20) -> Path:
        """A new device; the file with its bytes."""
        path = self.luns[number] = self.place / f"lun{number}.img"
        with path.open("xb") as file:
            file.truncate(size_bytes)
        if self._process is not None:
            self._show(number, path)
        return path

    def options(self, number: int = 1) -> dict[str, str]:
        return {"portal": self.portal, "target": NAME, "lun": str(number)}

    def start(self) -> None:
        self.boot()
        self.show()

    def boot(self) -> None:
        """It takes connections, and shows nobody its target yet: as a storage system does while it starts."""
        with (self.place / "tgtd.log").open("ab") as log:
            command = [*self._prefix, _find("tgtd"), "-f", "-C", "1", "--iscsi", f"portal={self.portal}"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        deadline = time.monotonic() + 20
        while self._admin("--op", "show", "--mode", "target", check=False):
            assert self._process.poll() is None and time.monotonic() < deadline, (self.place / "tgtd.log").read_text()
            time.sleep(0.02)
        self._admin("--op", "new", "--mode", "target", "--tid", "1", "-T", NAME)
        for number, path in self.luns.items():
            self._show(number, path)
        if self.chap:
            self._admin("--op", "new", "--mode", "account", "--user", self.chap[0], "--password", self.chap[1])
            self._admin("--op", "bind", "--mode", "account", "--tid", "1", "--user", self.chap[0])

    def show(self) -> None:
        self._admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def stop(self) -> None:
        """As a storage system does that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for file in self._control.iterdir():
            file.unlink()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._control)

    def swap(self, first: int, second: int) -> None:
        """Each shows the other's bytes from the next start on."""
        self.luns[first], self.luns[second] = self.luns[second], self.luns[first]

    def _show(self, number: int, path: Path) -> None:
        self._admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", str(number), "-b", str(path))

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TGT_IPC_SOCKET": str(self._control / "tgt")}

    def _admin(self, *arguments: str, check: bool = True) -> int:
        command = [_find("tgtadm"), "-C", "1", "--lld", "iscsi", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, timeout=20, check=False)
        assert not check or not done.returncode, f"{command}: {done.stderr}{done.stdout}"
        return done.returncode


class NbdServer:
    """qemu-nbd with one device."""

    def __init__(self, place: Path, size_bytes: int = 64 << 20) -> None:
        self.port = free_port()
        self.path = place / f"nbd{self.port}.img"
        with self.path.open("xb") as file:
            file.truncate(size_bytes)
        self._process: subprocess.Popen[bytes] | None = None

    def options(self) -> dict[str, str]:
        return {"protocol": "nbd", "host": "127.0.0.1", "port": str(self.port), "export": "disk"}

    def start(self) -> None:
        command = ["qemu-nbd", "-t", "-f", "raw", "-b", "127.0.0.1", "-p", str(self.port), "-x", "disk"]
        # It complains of whoever only looks whether it is there.
        with self.path.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen([*command, str(self.path)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("qemu-nbd does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def iscsi_target(place: Path, *luns: int, chap: tuple[str, str] | None = None) -> Iterator[IscsiTarget]:
    target = IscsiTarget(place)
    target.chap = chap
    for number in luns:
        target.lun(number)
    try:
        target.start()
        yield target
    finally:
        target.close()


@contextmanager
def nbd_server(place: Path, size_bytes: int = 64 << 20) -> Iterator[NbdServer]:
    server = NbdServer(place, size_bytes)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _find(program: str) -> str:
    found = shutil.which(program, path=_SBIN)
    assert found
    return found
