"""Cases about the life of containers."""

import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.cases import case, variants
from bench.http import Client, timed
from bench.material import Material
from bench.peers import IMAGE, Peer

LIFE = {"no network": ("none", False), "+ new volume": ("none", True), "on the bridge": ("bridge", False)}
MEGABYTE = 1 << 20


def bare_container(command: list[str], network: str = "none", **more: Any) -> dict[str, Any]:
    return {"Image": IMAGE, "Cmd": command, "HostConfig": {"NetworkMode": network}, **more}


def run_to_end(peer: Peer, body: dict[str, Any], client: Client | None = None) -> None:
    """create, start, wait, remove"""
    client = client or peer.client
    container = client.call("POST", "/containers/create", body)["Id"]
    client.call("POST", f"/containers/{container}/start")
    code = client.call("POST", f"/containers/{container}/wait")["StatusCode"]
    client.call("DELETE", f"/containers/{container}?v=1")
    if code != 0:
        raise RuntimeError(f"{peer.name}: {body['Cmd']} ended with {code}")


class Container:
    """A running container for one case, gone afterwards."""

    def __init__(self, peer: Peer, body: dict[str, Any]) -> None:
        self._peer = peer
        self._body = body

    def __enter__(self) -> str:
        self._id = str(self._peer.client.call("POST", "/containers/create", self._body)["Id"])
        try:
            self._peer.client.call("POST", f"/containers/{self._id}/start")
        except BaseException:
            self.__exit__()
            raise
        return self._id

    def __exit__(self, *_: object) -> None:
        self._peer.client.call("DELETE", f"/containers/{self._id}?force=1&v=1")


@variants("create + start + wait + remove,", LIFE, "ms", "≤ 0.2", rounds=10)
def life(peer: Peer, material: Material, network: str, volume: bool) -> Generator[float, None, None]:
    count = 0
    while True:
        body = bare_container(["true"], network)
        if volume:
            count += 1
            body["HostConfig"]["Binds"] = [f"benchlife{count}:/data"]
        yield timed(lambda: run_to_end(peer, body)) * 1000
        if volume:
            peer.client.call("DELETE", f"/volumes/benchlife{count}")


RUNS = {"no network": ("none", False), "bridge": ("bridge", False), "bridge + volume": ("bridge", True)}


@variants("docker run --rm,", RUNS, "ms", "≤ 0.35", rounds=10)
def command_line(peer: Peer, material: Material, network: str, volume: bool) -> Generator[float, None, None]:
    docker = shutil.which("docker") or ".cache/docker-cli/usr/bin/docker"
    count = 0
    while True:
        count += 1
        mounts = ["-v", f"benchrun{count}:/data"] if volume else []
        command = [docker, "--host", peer.host, "run", "--rm", "--network", network, *mounts, IMAGE, "true"]
        yield timed(lambda: subprocess.run(command, check=True, capture_output=True)) * 1000
        if volume:
            peer.client.call("DELETE", f"/volumes/benchrun{count}")


@variants("20 containers at once,", {"no network": ("none",), "bridge": ("bridge",)}, "s", "≤ 0.2", rounds=3)
def at_once(peer: Peer, material: Material, network: str) -> Generator[float, None, None]:
    clients = [Client(peer.socket_path) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        while True:
            body = bare_container(["true"], network)
            yield timed(lambda: [*pool.map(lambda client: run_to_end(peer, body, client), clients)])


def run_exec(client: Client, container: str) -> None:
    wish = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
    made = client.call("POST", f"/containers/{container}/exec", wish)["Id"]
    connection, _ = client.hijack(f"/exec/{made}/start", {"Detach": False, "Tty": False})
    with connection:
        while connection.recv(4096):
            pass
    if client.call("GET", f"/exec/{made}/json")["ExitCode"] != 0:
        raise RuntimeError("exec failed")


@variants("exec,", {"one": (1,), "8 at once, each": (8,)}, "ms", "≤ 0.4", rounds=7)
def exec_true(peer: Peer, material: Material, count: int) -> Generator[float, None, None]:
    clients = [Client(peer.socket_path) for _ in range(count)]
    with Container(peer, bare_container(["sleep", "100000"])) as container, ThreadPoolExecutor(count) as pool:
        while True:
            took = timed(lambda: [*pool.map(lambda client: run_exec(client, container), clients)])
            yield took / count * 1000


@case("attach: through cat", "MB/s", "≥ 2", rounds=5)
def attach(peer: Peer, material: Material) -> Generator[float, None, None]:
    megabytes = material.count(100)
    while True:
        body = bare_container(["cat"], OpenStdin=True, StdinOnce=True, AttachStdin=True, AttachStdout=True)
        # What goes through attach is not to be slowed by a log on disk.
        body["HostConfig"]["LogConfig"] = {"Type": "none"} if peer.name != "podman" else {"Type": "k8s-file"}
        container = peer.client.call("POST", "/containers/create", body)["Id"]
        connection, rest = peer.client.hijack(f"/containers/{container}/attach?stdin=1&stdout=1&stream=1")
        peer.client.call("POST", f"/containers/{container}/start")
        with ThreadPoolExecutor(1) as pool:

            def through() -> None:
                sent = pool.submit(send, connection, megabytes)
                received = receive(connection, rest)
                sent.result()
                if received != megabytes * MEGABYTE:
                    raise RuntimeError(f"{peer.name}: {received} bytes came back of {megabytes * MEGABYTE}")

            took = timed(through)
        connection.close()
        peer.client.call("DELETE", f"/containers/{container}?force=1")
        yield megabytes / took


def send(connection: socket.socket, megabytes: int) -> None:
    block = b"0123456789abcde\n" * (MEGABYTE // 16)
    for _ in range(megabytes):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)


def receive(connection: socket.socket, said: bytes) -> int:
    """Bytes of payload in Docker's framed stream."""
    total = 0
    buffer = bytearray(said)
    while True:
        while len(buffer) >= 8:
            size = struct.unpack(">I", buffer[4:8])[0]
            if len(buffer) < 8 + size:
                break
            total += size
            del buffer[: 8 + size]
        chunk = connection.recv(1 << 18)
        if not chunk:
            return total
        buffer += chunk


def chatty(megabytes: int) -> dict[str, Any]:
    return bare_container(
        ["sh", "-c", f"yes 'a line of a log, as long as lines of logs usually are: sixty' | head -c {megabytes}m"]
    )


@case("logs: a container writes 50 MB", "MB/s", "≥ 3", rounds=3)
def logs_write(peer: Peer, material: Material) -> Generator[float, None, None]:
    megabytes = material.count(50)
    while True:
        yield megabytes / timed(lambda: run_to_end(peer, chatty(megabytes)))


@case("logs: 50 MB read back", "MB/s", "≥ 20", rounds=3)
def logs_read(peer: Peer, material: Material) -> Generator[float, None, None]:
    megabytes = material.count(50)
    with Container(peer, chatty(megabytes)) as container:
        peer.client.call("POST", f"/containers/{container}/wait")
        while True:
            took = timed(lambda: peer.client.download(f"/containers/{container}/logs?stdout=1&stderr=1"))
            yield megabytes / took


@case("list of 50 containers", "ms", "≤ 0.3")
def listing(peer: Peer, material: Material) -> Generator[float, None, None]:
    made = [peer.client.call("POST", "/containers/create", bare_container(["true"]))["Id"] for _ in range(50)]
    try:
        while True:
            yield timed(lambda: [peer.client.call("GET", "/containers/json?all=1") for _ in range(10)]) / 10 * 1000
    finally:
        for container in made:
            peer.client.call("DELETE", f"/containers/{container}")


def described(peer: Peer) -> str:
    version = peer.client.call("GET", "/version")
    return f"{peer.name} {version.get('Version')} ({json.dumps(version.get('ApiVersion'))})"
