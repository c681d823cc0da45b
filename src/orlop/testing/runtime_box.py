"""Containers for the tests of runtime drivers: made in a line, read with a deadline, cleared away."""

import dataclasses
import queue
import secrets
import socket
from dataclasses import field
from pathlib import Path
from typing import Any

from orlop.drivers.runtimes.driver import Bundle, Exit, Process, Runtime, StartedProcess
from orlop.kernel.polling import readable
from orlop.model.value import dataclass

PATIENCE_SECONDS = 30.0
_PROCESS_FIELDS = {each.name for each in dataclasses.fields(Process)}


@dataclass(slots=True)
class Running:
    """A process that a test started, of a container or an exec."""

    box: "Box"
    container_id: str
    exec_id: str
    process: StartedProcess
    socket: socket.socket
    exits: "queue.Queue[Exit]" = field(default_factory=queue.Queue)

    def wait(self) -> Exit:
        return self.exits.get(timeout=PATIENCE_SECONDS)

    def read(self) -> bytes:
        """The next packet without its leading byte; empty at the end."""
        assert readable([self.socket.fileno()], PATIENCE_SECONDS), "no output"
        return receive(self.socket)[1:]

    def read_until(self, wanted: bytes) -> bytes:
        found = b""
        while wanted not in found:
            more = self.read()
            assert more, f"ended before {wanted!r}: {found!r}"
            found += more
        return found

    def output(self) -> tuple[bytes, bytes]:
        """All that comes until the end, by stream."""
        streams = {2: b"", 3: b""}
        while readable([self.socket.fileno()], PATIENCE_SECONDS):
            packet = receive(self.socket)
            if not packet:
                return streams[2], streams[3]
            streams[packet[0]] += packet[1:]
        raise AssertionError(f"no end of output: {streams}")

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def end_input(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def receive(packets: socket.socket) -> bytes:
    """The next packet. That the other side went without reading all input is said once, before the rest of its
    output."""
    try:
        return packets.recv(65536)
    except ConnectionResetError:
        return packets.recv(65536)


class Box:
    """Makes containers for one test and clears them away."""

    def __init__(self, runtime: Runtime, rootfs: Path, directory: Path) -> None:
        self.runtime = runtime
        self.rootfs = rootfs
        self.directory = directory
        self._sockets: list[socket.socket] = []
        self._ids: list[str] = []

    def bundle(self, *args: str, **wishes: Any) -> Bundle:
        """Wishes are fields of Process or Bundle."""
        container_id = secrets.token_hex(32)
        self._ids.append(container_id)
        of_process = {name: wishes.pop(name) for name in list(wishes) if name in _PROCESS_FIELDS}
        bundle = Bundle(
            container_id=container_id,
            name=f"name-{container_id[:8]}",
            log_path=self.directory / f"{container_id}.log",
            rootfs=self.rootfs,
            readonly_rootfs=False,
            process=Process(args, ("PATH=/bin:/sbin:/usr/bin:/usr/sbin",)),
            hostname="box",
        )
        return dataclasses.replace(bundle, process=dataclasses.replace(bundle.process, **of_process), **wishes)

    def create(self, bundle: Bundle) -> Running:
        process = self.runtime.create(bundle)
        running = Running(self, bundle.container_id, "", process, self.attach(bundle.container_id))
        self.runtime.watch(bundle.container_id, process, running.exits.put)
        return running

    def start(self, *args: str, **wishes: Any) -> Running:
        running = self.create(self.bundle(*args, **wishes))
        self.runtime.start(running.container_id)
        return running

    def shell(self, script: str, **wishes: Any) -> str:
        """What a script writes to stdout; it must succeed."""
        running = self.start("sh", "-c", script, **wishes)
        out, err = running.output()
        ended = running.wait()
        assert ended.exit_code == 0, (out, err, ended)
        return out.decode()

    def sleeper(self, **wishes: Any) -> Running:
        """A container that goes on until it is told to end, and ends at SIGTERM with 7."""
        running = self.start("sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done", **wishes)
        running.read_until(b"up")
        return running

    def exec(self, container_id: str, *args: str, **wishes: Any) -> Running:
        exec_id = secrets.token_hex(32)
        process = Process(args, ("PATH=/bin:/sbin:/usr/bin:/usr/sbin",), **wishes)
        started = self.runtime.start_exec(container_id, exec_id, process, attach=True)
        assert started.attached is not None
        self._sockets.append(started.attached)
        running = Running(self, container_id, exec_id, started.process, started.attached)
        self.runtime.watch(container_id, started.process, running.exits.put, exec_id)
        return running

    def attach(self, container_id: str) -> socket.socket:
        self._sockets.append(self.runtime.attach(container_id))
        return self._sockets[-1]

    def log(self, container_id: str) -> str:
        return (self.directory / f"{container_id}.log").read_text()

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()
        for container_id in self._ids:
            self.runtime.delete(container_id)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
