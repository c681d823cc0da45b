"""Who is measured: a daemon that already runs (`Peer`), or one that the bench starts itself (`Managed`)."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.http import Client, Refused

CHECKOUT = Path(__file__).parents[1]
IMAGE = "bench/busybox:latest"
_UNMOUNT_TRIES = 20


class Peer:
    """A daemon, by its socket."""

    manages = False

    def __init__(self, name: str, socket_path: Path) -> None:
        self.name = name
        self.socket_path = socket_path
        self.client = Client(socket_path)

    @property
    def host(self) -> str:
        return f"unix://{self.socket_path}"

    def processes(self) -> set[int]:
        """The daemon, found at the other end of its socket, and everything below it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket_path))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return descendants({struct.unpack("3i", credentials)[0]})

    def close(self) -> None:
        self.client.close()


class Managed(Peer):
    """Started by the bench, with its places on a journaled ext4 in a file: deletes of one peer do not slow the other's
    disk down, and a root file system without a journal flatters nobody."""

    manages = True

    def __init__(
        self,
        name: str,
        command: Callable[["Managed"], Sequence[str]],
        disk_bytes: int = 16 << 30,
        place: Path = Path("/var/tmp"),
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=place))
        self.exec_root = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))
        self.disk = self.home / "disk"
        self.bridge = f"b{self.exec_root.name.removeprefix('bench-')}"[:15]
        super().__init__(name, self.exec_root / "api.sock")
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        with (self.home / "disk.img").open("wb") as image:
            image.truncate(disk_bytes)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.home / "disk.img")
        self.disk.mkdir()
        run("mount", "-o", "loop", self.home / "disk.img", self.disk)

    @property
    def data_root(self) -> Path:
        return self.disk / "data"

    def start(self) -> float:
        """Seconds from the start of the process to its first answer."""
        # As installed: what is compiled once stays compiled.
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        begin = time.perf_counter()
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=variables,
            )
        while True:
            with suppress(OSError, Refused):
                self.client.call("GET", "/containers/json?limit=1")
                return time.perf_counter() - begin
            self.client.close()
            if self._process.poll() is not None or time.perf_counter() - begin > 60:
                raise RuntimeError(f"{self.name} did not start:\n{(self.home / 'log').read_text()[-4000:]}")
            time.sleep(0.005)

    def stop(self) -> None:
        self.client.close()
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def processes(self) -> set[int]:
        """Also the supervisors that outlive the daemon: their command lines name our places."""
        if not self._process:
            return set()  # it never started
        named = {
            pid
            for pid, command in command_lines().items()
            if str(self.exec_root) in command or str(self.disk) in command
        }
        return descendants({self._process.pid} | named)

    def close(self) -> None:
        self.client.close()  # stopped in the middle of a call, it would take that call's answer for the next one's
        with suppress(OSError, Refused):
            for container in self.client.call("GET", "/containers/json?all=1"):
                self.client.call("DELETE", f"/containers/{container['Id']}?force=1")
        self.stop()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if f"{target}/".startswith((f"{self.data_root}/", f"{self.exec_root}/")):
                subprocess.run(["umount", "-l", target], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        for _ in range(_UNMOUNT_TRIES):
            # Programs that were told to end a moment ago may still have files of it open.
            if not self.disk.is_mount() or not subprocess.run(["umount", self.disk], check=False).returncode:
                break
            time.sleep(0.5)
        if not self.disk.is_mount():
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.rmtree(self.exec_root, ignore_errors=True)


def orlop(arguments: Sequence[str] = (), **disk: Any) -> Managed:
    def command(peer: Managed) -> list[str]:
        places = ["--data-root", str(peer.data_root), "--exec-root", str(peer.exec_root / "x"), "--host", peer.host]
        return [str(CHECKOUT / ".venv/bin/orlop"), "daemon", *places, "--bridge", peer.bridge, *arguments]

    return Managed("orlop", command, **disk)


def dockerd() -> Managed:
    """Debian's docker.io, installed where it is missing; its service is not started, this one is ours."""
    if not shutil.which("dockerd"):
        run(CHECKOUT / "script/apt-install", "docker.io")

    def command(peer: Managed) -> list[str]:
        subprocess.run(["ip", "link", "add", peer.bridge, "type", "bridge"], check=False, capture_output=True)
        subprocess.run(["ip", "address", "add", "172.30.98.1/24", "dev", peer.bridge], check=False, capture_output=True)
        places = ["--data-root", str(peer.data_root), "--exec-root", str(peer.exec_root / "x"), "--host", peer.host]
        pid_file = peer.home / "pid"
        pid_file.unlink(missing_ok=True)
        return ["dockerd", *places, "--pidfile", str(pid_file), "--bridge", peer.bridge, "--storage-driver", "overlay2"]

    return Managed("dockerd", command)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
    return done.stdout


def command_lines() -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def descendants(roots: set[int]) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def pss_megabytes(pids: set[int]) -> float:
    """Memory that these processes cause, what they share counted by shares."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
