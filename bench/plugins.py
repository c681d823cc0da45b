"""Cases about other people's volume plugins: the same plugin, at the place where every daemon looks. Only with daemons
of the bench: dockerd would ask the plugin ever after, and wait for it each time."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress

from bench.cases import case
from bench.containers import bare_container, run_to_end
from bench.http import Refused, timed
from bench.material import Material
from bench.peers import Peer
from bench.plugin_server import calls_of

MANY, SOME = 300, 50
# Of a volume that it looked at so short a time ago, an engine may tell from memory.
_FRESH_SECONDS = 0.15


def create(peer: Peer, driver: str, names: Sequence[str]) -> None:
    for name in names:
        peer.client.call("POST", "/volumes/create", {"Name": name, "Driver": driver})


def remove(peer: Peer, names: Sequence[str]) -> None:
    for name in names:
        with suppress(Refused):
            peer.client.call("DELETE", f"/volumes/{name}?force=1")


def asked(driver: str, method: str, count: int, act: Callable[[], object]) -> float:
    """Seconds that it took, while the plugin was asked at least so often: else it was not what was to be measured."""
    before = calls_of(driver).get(method, 0)
    took = timed(act)
    calls = calls_of(driver).get(method, 0) - before
    if calls < count:
        raise RuntimeError(f"the plugin was asked {method} {calls} times, and {count} times it should have been")
    return took


@case("plugin: inspect of a volume (Get)", "calls/s", "≥ 1", rounds=10, needs_managed=True)
def plugin_get(peer: Peer, material: Material) -> Generator[float, None, None]:
    volumes = [f"get-{peer.name}-{number}" for number in range(MANY)]
    create(peer, material.plugin, volumes)
    try:
        while True:
            time.sleep(_FRESH_SECONDS)

            def inspect_all() -> None:
                for volume in volumes:
                    peer.client.call("GET", f"/volumes/{volume}")

            yield MANY / asked(material.plugin, "VolumeDriver.Get", MANY, inspect_all)
    finally:
        remove(peer, volumes)


@case("plugin: list of 50 volumes (List)", "calls/s", "≥ 1", rounds=10, needs_managed=True)
def plugin_list(peer: Peer, material: Material) -> Generator[float, None, None]:
    volumes = [f"list-{peer.name}-{number}" for number in range(SOME)]
    create(peer, material.plugin, volumes)
    try:
        while True:

            def list_often() -> None:
                for _ in range(SOME):
                    peer.client.call("GET", "/volumes")

            yield SOME / asked(material.plugin, "VolumeDriver.List", SOME, list_often)
    finally:
        remove(peer, volumes)


@case("plugin: volume create and remove (Create, Get, Remove)", "ms", "≤ 1", rounds=10, needs_managed=True)
def plugin_volumes(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:

        def live() -> None:
            for number in range(SOME):
                create(peer, material.plugin, [f"live-{peer.name}-{number}"])
                peer.client.call("DELETE", f"/volumes/live-{peer.name}-{number}")

        yield asked(material.plugin, "VolumeDriver.Remove", SOME, live) / SOME * 1000


@case("plugin: a container's life with its volume (Mount, Unmount)", "ms", "≤ 1", rounds=10, needs_managed=True)
def plugin_mount(peer: Peer, material: Material) -> Generator[float, None, None]:
    volume = f"used-{peer.name}"
    create(peer, material.plugin, [volume])
    body = bare_container(["true"])
    body["HostConfig"]["Binds"] = [f"{volume}:/data"]
    try:
        while True:
            yield asked(material.plugin, "VolumeDriver.Unmount", 1, lambda: run_to_end(peer, body)) * 1000
    finally:
        remove(peer, [volume])
