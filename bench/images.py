"""Cases about images and files."""

import os
import time
from collections.abc import Generator
from contextlib import suppress

from bench.cases import case, variants
from bench.containers import Container, bare_container
from bench.http import Refused, timed
from bench.material import Material
from bench.peers import Managed, Peer

LOADED = "bench/load:latest"


def drop(peer: Peer, image: str) -> None:
    """Remove an image, and wait until its files are off the disk: whoever deletes in the background must not slow down
    the next measurement, its own or another's."""
    with suppress(Refused):
        peer.client.call("DELETE", f"/images/{image}?force=1")
    if isinstance(peer, Managed):
        before = -1
        while before != (before := os.statvfs(peer.disk).f_ffree):
            time.sleep(0.4)
    os.sync()  # what another left unwritten would be written on this one's time


@variants("image load,", {"plain": (False,), "gzip": (True,)}, "s", "≤ 0.4", rounds=3)
def load(peer: Peer, material: Material, gzipped: bool) -> Generator[float, None, None]:
    archive = material.gzipped_image if gzipped else material.image
    while True:
        drop(peer, LOADED)  # before: the case in front may have left it, and what is there already costs nothing
        yield timed(lambda: peer.client.upload("POST", "/images/load?quiet=1", archive))


@case("image remove", "s", "≤ 0.1", rounds=3)
def remove(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        peer.client.upload("POST", "/images/load?quiet=1", material.image)
        yield timed(lambda: peer.client.call("DELETE", f"/images/{LOADED}"))


@case("image save", "s", "≤ 0.5", rounds=3)
def save(peer: Peer, material: Material) -> Generator[float, None, None]:
    peer.client.upload("POST", "/images/load?quiet=1", material.image)
    try:
        while True:
            yield timed(lambda: peer.client.download(f"/images/{LOADED}/get"))
    finally:
        drop(peer, LOADED)


@case("image import of 10 000 files, 200 MB", "s", "≤ 0.5", rounds=3)
def image_import(peer: Peer, material: Material) -> Generator[float, None, None]:
    while True:
        target = "/images/create?fromSrc=-&repo=bench/import&tag=latest"
        drop(peer, "bench/import:latest")
        yield timed(lambda: peer.client.upload("POST", target, material.rootfs))


@variants("cp of 200 MB", {"in": ("in", "big"), "out": ("out", "big")}, "s", "≤ 0.4", rounds=3)
@variants("cp of 5000 files", {"in": ("in", "small"), "out": ("out", "small")}, "s", "≤ 0.6", rounds=3)
def copy(peer: Peer, material: Material, direction: str, what: str) -> Generator[float, None, None]:
    archive = material.big_file if what == "big" else material.small_files
    with Container(peer, bare_container(["sleep", "100000"])) as container:
        target = f"/containers/{container}/archive?path="
        peer.client.upload("PUT", f"{target}/tmp", archive)
        while True:
            if direction == "out":
                yield timed(lambda: peer.client.download(f"{target}/tmp/{what}"))
            else:
                yield timed(lambda: peer.client.upload("PUT", f"{target}/tmp", archive))
