"""Cases about the daemon itself and its command."""

import os
import shutil
import subprocess
import time
from collections.abc import Generator

from bench.cases import NewVolume, case, many_volumes, variants
from bench.containers import Container, bare_container
from bench.http import timed
from bench.material import Material
from bench.peers import CHECKOUT, Managed, Peer, pss_megabytes


@variants(
    "start to first answer,",
    {"1000 volumes + 50 containers": (1000, 50), "10000 volumes": (10_000, 0)},
    "s",
    "≤ 0.4",
    rounds=5,
    needs_managed=True,
    seconds=150,
)
def start(peer: Peer, material: Material, volumes: int, containers: int) -> Generator[float, None, None]:
    assert isinstance(peer, Managed)
    with many_volumes(peer, volumes):
        made = [
            peer.client.call("POST", "/containers/create", bare_container(["true"]))["Id"] for _ in range(containers)
        ]
        try:
            while True:
                peer.stop()
                yield peer.start()
        finally:
            for container in made:
                peer.client.call("DELETE", f"/containers/{container}")


@case("memory idle", "MB", "≤ 0.9", rounds=3, needs_managed=True)
def memory(peer: Peer, material: Material) -> Generator[float, None, None]:
    assert isinstance(peer, Managed)
    peer.stop()
    peer.start()
    while True:
        time.sleep(1)  # what it does after the first answer belongs to it
        yield pss_megabytes(peer.processes())


@case("memory per running container", "MB", "≤ 0.3", rounds=3)
def memory_per_container(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        before = pss_megabytes(peer.processes())
        running = [Container(peer, bare_container(["sleep", "100000"])) for _ in range(10)]
        ids = [container.__enter__() for container in running]
        inside = {peer.client.call("GET", f"/containers/{made}/json")["State"]["Pid"] for made in ids}
        yield (pss_megabytes(peer.processes() - inside) - before) / len(running)
        for container in running:
            container.__exit__()


@case("volume ls by command: orlop, and the peer's docker", "ms", "≤ 4", rounds=10)
def volume_ls(peer: Peer, material: Material) -> Generator[float, None, None]:
    own = peer.name == "orlop"
    command = str(CHECKOUT / ".venv/bin/orlop") if own else shutil.which("docker") or ""
    variables = {**os.environ, "DOCKER_HOST": peer.host}
    with NewVolume(peer, "bench"):
        while True:
            arguments = [command, "volume", "ls"]
            yield timed(lambda: subprocess.run(arguments, env=variables, check=True, capture_output=True)) * 1000
