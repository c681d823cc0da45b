"""Cases about volumes."""

import itertools
import os
import time
from collections.abc import Generator
from pathlib import Path

from bench.cases import NewVolume, case, many_volumes, variants, volume_path
from bench.containers import Container, bare_container, run_to_end
from bench.http import calls_per_second, timed
from bench.material import MEGABYTE, Material
from bench.peers import Peer


def create(peer: Peer, name: str = "", **more: object) -> str:
    return str(peer.client.call("POST", "/volumes/create", {"Name": name, **more})["Name"])


@case("volume create", "ms", "≤ 0.4")
def volume_create(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        names = [f"bench{number}" for number in range(30)]
        took = timed(lambda: [create(peer, name) for name in names])
        for name in names:
            peer.client.call("DELETE", f"/volumes/{name}")
        yield took / 30 * 1000


@case("volume remove", "ms", "≤ 0.5")
def volume_remove(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        names = [create(peer, f"bench{number}") for number in range(30)]
        yield timed(lambda: [peer.client.call("DELETE", f"/volumes/{name}") for name in names]) / 30 * 1000


@case("volume inspect, 1 client", "ms", "≤ 1")
def volume_inspect(peer: Peer, material: Material) -> Generator[float, None, None]:
    with NewVolume(peer, "bench"):
        while True:
            yield timed(lambda: [peer.client.call("GET", "/volumes/bench") for _ in range(300)]) / 300 * 1000


@case("volume inspect, 16 clients", "calls/s", "≥ 2")
def volume_inspect_at_once(peer: Peer, material: Material) -> Generator[float, None, None]:
    with NewVolume(peer, "bench"):
        while True:
            yield calls_per_second(peer.socket_path, "/volumes/bench", clients=16, seconds=1)


@variants("volume list, N =", {"10": (10,), "1000": (1000,), "10000": (10_000,)}, "ms", "≤ 0.4", seconds=150)
def volume_list(peer: Peer, material: Material, count: int) -> Generator[float, None, None]:
    with many_volumes(peer, count):
        while True:
            yield timed(lambda: [peer.client.call("GET", "/volumes") for _ in range(10)]) / 10 * 1000


@case("prune of 1000 anonymous volumes", "ms", "≤ 0.3", rounds=3, needs_managed=True)  # it takes whatever is unused
def volume_prune(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        for _ in range(material.count(1000)):
            create(peer)
        yield timed(lambda: peer.client.call("POST", "/volumes/prune")) * 1000


@case("copy-up of 10 000 files, 200 MB", "s", "≤ 0.35", rounds=3)
def copy_up(peer: Peer, material: Material) -> Generator[float, None, None]:
    peer.client.upload("POST", "/images/create?fromSrc=-&repo=bench/content&tag=latest", material.rootfs)
    try:
        while True:
            body = bare_container(["/bin/busybox", "true"]) | {"Image": "bench/content:latest"}
            body["HostConfig"]["Binds"] = ["benchcopy:/content"]
            yield timed(lambda: run_to_end(peer, body))
            peer.client.call("DELETE", "/volumes/benchcopy")
    finally:
        peer.client.call("DELETE", "/images/bench/content:latest?force=1")


@variants("volume bytes, bare directory's time ÷ volume's:", {"write": ("write",), "read": ("read",)}, "", "≥ 0.97", 10)
def data_path(peer: Peer, material: Material, direction: str) -> Generator[float, None, None]:
    """The same program on the same file system, in a container's volume and beside it, one after the other."""
    megabytes = material.count(300)
    with NewVolume(peer, "benchdata"):
        inside = volume_path(peer, "benchdata")
        bare = inside.parent.parent.parent / "bench-bare"
        bare.mkdir()
        body = bare_container(["sleep", "100000"]) | {
            "HostConfig": {"Binds": ["benchdata:/data"], "NetworkMode": "none"}
        }
        with Container(peer, body) as container:
            pid = peer.client.call("GET", f"/containers/{container}/json")["State"]["Pid"]
            # Through the container's own mounts, without a program of its own: the kernel's way is the same.
            mounted = Path(f"/proc/{pid}/root/data")
            try:
                for number in itertools.count():
                    # Who goes first changes: what one leaves to the disk to finish would fall to the other.
                    order = (bare, mounted) if number % 2 else (mounted, bare)
                    took = {folder: copied(folder / "f", direction, megabytes) for folder in order}
                    yield took[bare] / took[mounted]
            finally:
                bare.rmdir()


def copied(path: Path, direction: str, megabytes: int) -> float:
    """Seconds to write that much and have it on the disk, or to read it from there."""
    block = b"\xa5" * MEGABYTE
    os.sync()
    begin = time.perf_counter()
    with path.open("xb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(block)
        os.fsync(file.fileno())
    if direction == "read":
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            begin = time.perf_counter()
            while file.read(MEGABYTE):
                pass
    took = time.perf_counter() - begin
    path.unlink()
    return took
