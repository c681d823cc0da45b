"""The HTTP edge served on a socket of its own, over an engine made of the real values and the real events and logs.

The fakes hold things in memory and raise the engine's own errors; test_fakes.py holds their methods to the signatures
of the real services.
"""

import asyncio
import contextlib
import dataclasses
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, BinaryIO, cast

import msgspec
import uvloop

from orlop.docker.server import Server
from orlop.drivers.volumes.abilities import Limits
from orlop.engine.archive_work import PathStat
from orlop.engine.container_records import WaitResult
from orlop.engine.disk_usage import DiskUsage
from orlop.engine.engine import Engine
from orlop.engine.events import Events
from orlop.engine.images import ImageSummary, LoadedImage
from orlop.engine.logs import Logs
from orlop.engine.nodes import Whereabouts
from orlop.engine.plugin_records import NoSuchPlugin
from orlop.engine.secrets import Secrets
from orlop.engine.sessions import Attachment, Exec, ExecWish
from orlop.engine.system import SystemInfo
from orlop.engine.tree_usage import TreeUsage
from orlop.engine.volume_previews import Departure
from orlop.engine.volume_reports import VolumeReport
from orlop.errors import Conflict, NoSuchContainer, NoSuchExec, NoSuchImage, NoSuchVolume, NotFound
from orlop.model.cluster import Access, GlobalUse, GlobalVolume, Node
from orlop.model.container import (
    Container,
    ContainerConfig,
    ContainerState,
    ContainerWish,
    HostConfig,
    LayerChange,
    Status,
)
from orlop.model.filters import Filters
from orlop.model.image import Image, ImageConfig
from orlop.model.network import Network
from orlop.model.platform import Platform, is_any_of
from orlop.model.plugin import Plugin
from orlop.model.volume import PruneReport, RetiredVolume, Volume, VolumeFacts, VolumeUser
from orlop.store.paths import DataRoot
from orlop.store.secrets import SecretFiles

NOW_NS = 1_700_000_000_123_456_789
IMAGE_ID = "sha256:" + "1" * 64


class FakeVolumes:
    def __init__(self) -> None:
        self.others = SimpleNamespace(are_there=False)
        self.are_elsewhere_too = False
        self.version: int | None = None  # nothing is kept
        self.shared = SimpleNamespace(cluster=None)
        self.watch = SimpleNamespace(count_by_state=lambda: {"stale": 2, "hanging": 0})
        self.volumes: dict[str, Volume] = {}
        self.retired: dict[str, RetiredVolume] = {}
        self.asked: list[Any] = []

    def create(
        self, name: str, driver: str, options: Mapping[str, str] | None, labels: Mapping[str, str] | None
    ) -> Volume:
        name = name or secrets.token_hex(32)
        mountpoint = f"/data/volumes/{name}/_data"
        volume = Volume(name, secrets.token_hex(32), driver or "local", NOW_NS, mountpoint, labels, options)
        return self.volumes.setdefault(name, volume)

    @property
    def count(self) -> int:
        return len(self.volumes)

    def get(self, name: str) -> Volume:
        if name not in self.volumes:
            raise NoSuchVolume(name)
        return self.volumes[name]

    def look_at(self, name: str) -> Volume:
        return self.get(name)

    def list_known(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        self.asked.append(filters)
        return list(self.volumes.values()), []

    def list_volumes(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        return self.list_known(filters)

    def remove(self, name: str, force: bool = False, reason: str = "volume rm") -> None:
        volume = self.get(name)
        if volume.labels == {"held": "yes"}:
            raise Conflict(f"remove {name}", "volume is in use - [" + "c" * 64 + "]")
        del self.volumes[name]
        retired = RetiredVolume(secrets.token_hex(32), volume, NOW_NS, NOW_NS + 10**9, reason)
        self.retired[retired.id] = retired

    def prune(self, filters: Filters, include_named: bool) -> PruneReport:
        self.asked.append((filters, include_named))
        return PruneReport(("gone",), 7)

    def list_retired(self, filters: Filters | None = None) -> Sequence[RetiredVolume]:
        return list(self.retired.values())

    def known_size_bytes(self, volume_id: str) -> int:
        return 5

    def restore(self, reference: str, new_name: str = "") -> Volume:
        retired = self.purge(reference)
        volume = dataclasses.replace(retired.volume, name=new_name or retired.volume.name)
        self.volumes[volume.name] = volume
        return volume

    def purge(self, reference: str) -> RetiredVolume:
        found = [each for each in self.retired.values() if reference in (each.id, each.volume.name)]
        if not found:
            raise NotFound(reference, "no such removed volume")
        return self.retired.pop(found[0].id)


class FakeContainers:
    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.waiting: list[Future[WaitResult]] = []
        self.wishes: list[ContainerWish] = []
        self.asked: list[Any] = []
        self.stop_gate = threading.Event()

    def put(self, container: Container) -> Container:
        self.containers[container.id] = container
        return container

    def create(self, wish: ContainerWish) -> tuple[Container, Sequence[str]]:
        if wish.config.image == "nosuch":
            raise NoSuchImage("nosuch")
        self.wishes.append(wish)
        words = tuple(wish.config.command or ("sh",))
        return self.put(
            Container(
                id=secrets.token_hex(32),
                name=wish.name or "quiet_orlop",
                created_at_ns=NOW_NS,
                image_id=IMAGE_ID,
                config=wish.config,
                host=wish.host,
                layer_id=secrets.token_hex(32),
                path=words[0],
                args=words[1:],
                client_view=wish.client_view,
            )
        ), ["mind the gap"]

    def get(self, reference: str) -> Container:
        for container in self.containers.values():
            if container.name == reference.removeprefix("/") or container.id.startswith(reference):
                return container
        raise NoSuchContainer(reference)

    def list_containers(self, filters: Filters, all_containers: bool, limit: int = 0) -> Sequence[Container]:
        self.asked.append((filters, all_containers, limit))
        return list(self.containers.values())

    def start(self, reference: str) -> bool:
        container = self.get(reference)
        if container.name == "missing-program":
            raise NotFound("OCI runtime create failed", 'exec: "x": executable file not found in $PATH')
        if container.is_running:
            return False
        self.put(dataclasses.replace(container, status=Status(ContainerState.RUNNING, 42, started_at_ns=NOW_NS)))
        return True

    def stop(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> bool:
        """Blocks until `stop_gate` is set: a container that takes its time."""
        self.asked.append((timeout_seconds, signal))
        self.stop_gate.wait(10)
        return self.get(reference).is_running

    def kill(self, reference: str, signal: str = "") -> None:
        self.asked.append(signal)
        self.get(reference)

    def wait(self, reference: str, condition: str) -> "Future[WaitResult]":
        self.asked.append(condition)
        future: Future[WaitResult] = Future()
        self.waiting.append(future)
        return future

    def remove(self, reference: str, force: bool = False, remove_volumes: bool = False) -> None:
        self.asked.append((force, remove_volumes))
        del self.containers[self.get(reference).id]

    def describe_layer(self, container: Container) -> Mapping[str, str]:
        return {"UpperDir": "/up"}

    def size_bytes(self, container: Container) -> tuple[int, int]:
        return 5, 105

    def changes(self, reference: str) -> Sequence[LayerChange]:
        return [LayerChange("/new", 1)]

    def export(self, reference: str, out: BinaryIO) -> None:
        """10 MB, or an error before or after the first of them, by the container's name."""
        name = self.get(reference).name
        if name == "broken":
            raise Conflict("", "cannot be exported")
        for number in range(10):
            out.write(bytes([number]) * 1_000_000)
            if name == "half":
                raise OSError(5, "Input/output error")

    def top(self, reference: str, ps_arguments: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        self.asked.append(ps_arguments)
        return ["PID"], [["1"]]


class FakeImages:
    def __init__(self) -> None:
        self.received: list[Any] = []

    def resolve(self, reference: str) -> Image:
        if reference not in ("busybox", "busybox:latest", IMAGE_ID):
            raise NoSuchImage(reference)
        raw = '{"architecture":"amd64","os":"linux"}'
        return Image(IMAGE_ID, raw, ("sha256:" + "2" * 64,), 100, "2026-01-02T03:04:05Z", NOW_NS)

    def config(self, image: Image) -> ImageConfig:
        return ImageConfig(env=("PATH=/bin",), command=("sh",))

    def describe(self, image: Image) -> Mapping[str, str]:
        return {"UpperDir": "/image"}

    def shared_bytes(self) -> Mapping[str, int]:
        return {IMAGE_ID: 0}

    def references(self, image_id: str) -> Sequence[str]:
        return ["busybox:latest"]

    def list_images(self, filters: Filters, all_images: bool) -> Sequence[ImageSummary]:
        image = self.resolve("busybox")
        return [ImageSummary(image, self.config(image), ("busybox:latest",), 0)]

    def require_platform(self, reference: str, platforms: Sequence[Platform]) -> None:
        actual = Platform("linux", "amd64")
        if not is_any_of(actual, platforms):
            raise NotFound("", f"image with reference {reference} was found but does not match the specified platform")

    def load(
        self, archive: Path, report: Callable[[str], None], platforms: Sequence[Platform] = ()
    ) -> Sequence[LoadedImage]:
        self.received.append(archive.read_bytes())
        return [LoadedImage(IMAGE_ID, ("busybox:latest",)), LoadedImage(IMAGE_ID, ())]

    def import_archive(
        self,
        archive: Path,
        reference: str,
        changes: Sequence[str],
        message: str,
        platform: str,
        report: Callable[[str], None],
    ) -> Image:
        self.received.append((archive.read_bytes(), reference, tuple(changes), message))
        return self.resolve("busybox")

    def save(self, references: Sequence[str]) -> Iterator[bytes]:
        for reference in references:
            self.resolve(reference)
        return (bytes([number]) * 100_000 for number in range(30))


class FakeNetworks:
    def list_networks(self, filters: Filters) -> Sequence[Network]:
        return [Network("bridge", "b" * 64, "bridge", NOW_NS, "172.17.0.0/16", "172.17.0.1")]

    def get(self, reference: str) -> Network:
        if reference != "bridge":
            raise NotFound("", f"network {reference} not found")
        return self.list_networks({})[0]


class FakeSessions:
    """`attached` holds the container's end of each attachment."""

    def __init__(self) -> None:
        self.execs: dict[str, Exec] = {}
        self.attached: list[socket.socket] = []
        self.attachments: list[Future[Attachment]] = []
        self.by_hand = False  # the future is completed by `connect`, as at a container's start
        self.with_pipe = False
        self.read_input = -1
        self.resized: list[tuple[int, int]] = []
        self.ends: list[Future[None]] = []

    def connect(self) -> socket.socket:
        """Complete the oldest attachment that waits; the container's end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(10)
        future = self.attachments.pop(0)
        if future.set_running_or_notify_cancel():
            future.set_result(Attachment(ours, self._input()))
        self.attached.append(theirs)
        return theirs

    def _input(self) -> int:
        """Of the process itself, where there is to be one; `read_input` is its other end."""
        if not self.with_pipe:
            return -1
        self.read_input, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writing, False)
        return writing

    def attach(self, reference: str, writes: bool = False) -> "Future[Attachment]":
        future: Future[Attachment] = Future()
        self.attachments.append(future)
        if not self.by_hand:
            self.connect()
        return future

    def resize(self, reference: str, height: int, width: int) -> None:
        self.resized.append((height, width))

    def create_exec(self, reference: str, wish: ExecWish) -> str:
        exec_id = secrets.token_hex(32)
        self.execs[exec_id] = Exec(exec_id, "c" * 64, wish)
        return exec_id

    def start_exec(self, exec_id: str, detach: bool) -> Attachment | None:
        if self.get_exec(exec_id).wish.command == ("missing",):
            raise NotFound("", 'exec: "missing": executable file not found in $PATH')
        if detach:
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(10)
        self.ends.append(Future())
        self.attached.append(theirs)
        return Attachment(ours)

    def get_exec(self, exec_id: str) -> Exec:
        if exec_id not in self.execs:
            raise NoSuchExec(exec_id)
        return self.execs[exec_id]

    def exec_end(self, exec_id: str) -> "Future[None]":
        return self.ends[-1]

    def exec_ids(self, container_id: str) -> Sequence[str]:
        return list(self.execs)


class FakeArchives:
    def __init__(self) -> None:
        self.received: list[Any] = []

    def stat(self, reference: str, path: str) -> PathStat:
        if path == "/nosuch":
            raise NotFound("", f"Could not find the file {path} in container {reference}")
        return PathStat("etc", 4096, 0o041755, NOW_NS, "")

    def get(self, reference: str, path: str, out: BinaryIO, tell: Callable[[PathStat], None]) -> None:
        tell(self.stat(reference, path))
        out.write(b"tar of " + path.encode())

    def put(self, reference: str, path: str, archive: Path, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool) -> None:
        self.received.append((path, archive.read_bytes(), no_overwrite_dir_non_dir, copy_uid_gid))


class FakeSystem:
    def info(self) -> SystemInfo:
        return SystemInfo(
            id="id",
            name="host",
            data_root="/data",
            layer_driver="overlay2",
            layer_driver_status=(("Backing Filesystem", "extfs"),),
            containers=3,
            running=1,
            paused=0,
            stopped=2,
            images=1,
            kernel_version="6",
            operating_system="Debian",
            os_version="12",
            architecture="x86_64",
            cpus=2,
            memory_bytes=1 << 30,
            runtime="crun",
            runtimes={"crun": "1.8.1"},
            volume_drivers=("local",),
            network_drivers=("bridge", "host", "none"),
            cgroup_driver="cgroupfs",
            cgroup_version="1",
            security_options=("name=seccomp,profile=builtin",),
        )


class FakeDiskUsages:
    def find(self, kinds: Collection[str]) -> DiskUsage:
        return DiskUsage(100, ((IMAGE_ID, 100, 0),))


class FakeReports:
    def __init__(self, volumes: FakeVolumes) -> None:
        self._volumes = volumes
        self.facts = VolumeFacts()
        self.users: tuple[VolumeUser, ...] = ()
        self.wanted: list[str] = []
        self.looked_at: list[str] = []
        self.asked: list[Any] = []

    def of(self, volume: Volume) -> VolumeReport:
        return VolumeReport(volume, self.facts, Limits(), self.users)

    def was_looked_at(self, volume: Volume) -> bool:
        return volume.name in self.looked_at

    def ask(self, volume: Volume) -> None:
        """Nothing that is waited for: `look_at` will do."""

    def look_at(self, volume: Volume) -> Volume:
        self.looked_at.append(volume.name)
        return volume

    def want(self, volume: Volume) -> None:
        self.wanted.append(volume.name)

    def list_reports(self, filters: Filters, wait_seconds: float = 0.0) -> list[VolumeReport]:
        self.asked.append((filters, wait_seconds))
        return [self.of(volume) for volume in self._volumes.volumes.values()]


class FakePreviews:
    def __init__(self, reports: FakeReports, volumes: FakeVolumes) -> None:
        self._reports = reports
        self._volumes = volumes
        self.asked: list[Any] = []

    def of_removal(self, names: Iterable[str], wait_seconds: float = 0.0) -> list[Departure]:
        known = self._volumes.volumes
        missing = [Departure(name, None, "no such volume") for name in names if name not in known]
        return [
            *missing,
            *(Departure(name, self._reports.of(known[name]), "", NOW_NS) for name in names if name in known),
        ]

    def of_prune(self, filters: Filters, include_named: bool, wait_seconds: float = 0.0) -> list[Departure]:
        self.asked.append((filters, include_named, wait_seconds))
        return self.of_removal(self._volumes.volumes)


class FakeTrees:
    def measure(
        self, name: str, path: str, depth: int, told: Callable[[TreeUsage], bool] = lambda so_far: True
    ) -> tuple[list[TreeUsage], int]:
        if path == "nowhere":
            raise NotFound(f"path {path} of volume {name}", "there is no such file or directory")
        return [TreeUsage("", True, 30, 8192, 2), TreeUsage("a\udcff", False, 20, 4096, 0, NOW_NS)], 3


class FakePlugins:
    """Nobody has installed one."""

    def list_plugins(self, filters: Filters) -> Sequence[Plugin]:
        return []

    def find(self, reference: str) -> Plugin:
        raise NoSuchPlugin(reference)


class FakeNodes:
    """Two hosts, and one of them uses every volume."""

    def list_nodes(self) -> tuple[Sequence[Node], Sequence[str]]:
        return [Node("a", "1", 1, is_alive=True, is_self=True), Node("b", "1", 2, is_alive=False)], ["etcd is away"]

    def where(self, name: str) -> Whereabouts:
        volume = GlobalVolume(name, "5" * 64, "juicefs", Access.RWX, 1, "a")
        return Whereabouts(volume, [GlobalUse(volume.id, "b", "c" * 64, "web", is_running=True)])


@dataclasses.dataclass
class Fakes:
    containers: FakeContainers
    images: FakeImages
    volumes: FakeVolumes
    networks: FakeNetworks
    sessions: FakeSessions
    archives: FakeArchives
    system: FakeSystem
    disk_usage: FakeDiskUsages
    volume_reports: FakeReports
    volume_previews: FakePreviews
    volume_trees: FakeTrees
    events: Events
    root: Path
    logs: dict[str, IO[str]] = dataclasses.field(default_factory=dict)

    def container(self, name: str = "app", running: bool = True, **config: Any) -> Container:
        """One that is there already."""
        status = Status(ContainerState.RUNNING, 42, started_at_ns=NOW_NS) if running else Status()
        return self.containers.put(
            Container(
                id=secrets.token_hex(32),
                name=name,
                created_at_ns=NOW_NS,
                image_id=IMAGE_ID,
                config=ContainerConfig(image="busybox", **config),
                host=HostConfig(),
                layer_id=secrets.token_hex(32),
                path="sh",
                status=status,
            )
        )

    def write_log(self, container: Container, text: str) -> None:
        """The file stays open for writing, as the supervisor keeps it: closing it means the end."""
        if container.id not in self.logs:
            self.logs[container.id] = (self.root / f"{container.id}.log").open("a")
        log = self.logs[container.id]
        log.write(text)
        log.flush()

    def find_log(self, reference: str) -> tuple[Path, Callable[[], bool]]:
        container = self.containers.get(reference)
        return self.root / f"{container.id}.log", lambda: self.containers.get(container.id).is_running


def make_fakes(root: Path) -> Fakes:
    (root / "orlop" / "incoming").mkdir(parents=True)
    volumes = FakeVolumes()
    reports = FakeReports(volumes)
    return Fakes(
        FakeContainers(),
        FakeImages(),
        volumes,
        FakeNetworks(),
        FakeSessions(),
        FakeArchives(),
        FakeSystem(),
        FakeDiskUsages(),
        reports,
        FakePreviews(reports, volumes),
        FakeTrees(),
        Events(),
        root,
    )


def make_engine(fakes: Fakes) -> Engine:
    fields = ("containers", "images", "volumes", "networks", "sessions", "archives", "system", "events")
    more = ("disk_usage", "volume_reports", "volume_previews", "volume_trees")
    services: dict[str, Any] = {field: getattr(fakes, field) for field in (*fields, *more)}
    root = DataRoot(fakes.root)
    services |= {"logs": Logs(fakes.find_log), "secrets": Secrets(SecretFiles(root.secrets)), "plugins": FakePlugins()}
    services["nodes"] = FakeNodes()
    return Engine(**services, data_root=root)


class Served:
    """A server in a thread of its own. `engine` None: still starting, until `provide`."""

    def __init__(self, path: Path, fakes: Fakes, with_engine: bool = True) -> None:
        self.path = path
        self.fakes = fakes
        self._with_engine = with_engine
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has been stopped already
            self.stop()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server does not stop"
        for attached in self.fakes.sessions.attached:
            attached.close()
        for log in self.fakes.logs.values():
            log.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        engine = make_engine(self.fakes) if self._with_engine else None
        self.server = Server([f"unix://{self.path}"], engine)
        await self.server.serve(self._stop, self._listening.set)

    def in_loop(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        self.in_loop(self._stop.set)

    def provide(self) -> None:
        self.server.provide(make_engine(self.fakes))

    def connect(self) -> "Exchange":
        return Exchange(self.path)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> "Answer":
        with self.connect() as exchange:
            return exchange.call(method, path, body, **headers)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:

        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return cast(str, self.json["message"])


class Exchange:
    """A client that speaks HTTP by hand, so that it can also speak it wrongly."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.received = b""

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> None:

        raw = b""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
            given.setdefault("Content-Type", "application/json")
            given["Content-Length"] = str(len(raw))
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", *(f"{name}: {value}" for name, value in given.items())]
        self.send("\r\n".join([*lines, "", ""]).encode() + raw)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        self.request(method, path, body, **headers)
        return self.answer(method)

    def until(self, end: bytes) -> bytes:
        """What arrives up to and with `end`."""
        while end not in self.received:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.received)
            self.received += data
        found, _, self.received = self.received.partition(end)
        return found + end

    def exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.received)
            self.received += data
        found, self.received = self.received[:count], self.received[count:]
        return found

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while data := self.socket.recv(65536):
            self.received += data
        found, self.received = self.received, b""
        return found

    def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.until(b"\r\n"), 16):
            yield self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n"

    def answer(self, method: str = "GET") -> Answer:
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self.chunks()))
        if "content-length" in headers:
            return Answer(status, headers, self.exactly(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def is_closed(self) -> bool:
        return not self.received and self.socket.recv(1) == b""


def wait_until(condition: Callable[[], bool]) -> None:
    """For what another thread does soon; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
