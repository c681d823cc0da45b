"""What a case is, and the list of all of them.

A case is a generator: what stands before its first `yield` sets up, each `yield` gives one round's value, and what
stands in `finally` cleans up. The runner takes one round from each peer in turn.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.http import Client
from bench.material import Material
from bench.peers import Peer

_MARK = "orlop.bench"

Values = Generator[float, None, None]
Measure = Callable[[Peer, Material], Values]


@dataclass(frozen=True)
class Case:
    name: str
    unit: str
    target: str  # of the ratio to the peer, as the project promises itself
    rounds: int
    measure: Measure
    needs_managed: bool = False  # stops and starts the daemon, or leaves something in it
    seconds: float = 90.0  # until it is given up


CASES: list[Case] = []


def case(
    name: str, unit: str, target: str, rounds: int = 7, needs_managed: bool = False
) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        CASES.append(Case(name, unit, target, rounds, measure, needs_managed))
        return measure

    return register


def variants(
    name: str,
    rows: Mapping[str, tuple[object, ...]],
    unit: str,
    target: str,
    rounds: int = 7,
    needs_managed: bool = False,
    seconds: float = 90.0,
) -> Callable[..., Callable[..., Values]]:
    """The same measurement with several settings: one case each, named `name suffix`."""

    def register(measure: Callable[..., Values]) -> Callable[..., Generator[float]]:
        for suffix, arguments in rows.items():

            def bound(
                peer: Peer, material: Material, arguments: tuple[object, ...] = arguments
            ) -> Generator[float, None, None]:
                return measure(peer, material, *arguments)

            CASES.append(Case(f"{name} {suffix}".strip(), unit, target, rounds, bound, needs_managed, seconds))
        return measure

    return register


@dataclass(frozen=True)
class NewVolume:
    """A volume for one case, gone afterwards."""

    peer: Peer
    name: str

    def __enter__(self) -> str:
        self.peer.client.call("POST", "/volumes/create", {"Name": self.name})
        return self.name

    def __exit__(self, *_: object) -> None:
        self.peer.client.call("DELETE", f"/volumes/{self.name}")


@contextmanager
def many_volumes(peer: Peer, count: int) -> Iterator[None]:
    """Made by several clients at once, and gone afterwards: by one call, for nobody should wait long for a clean-up."""
    clients = [Client(peer.socket_path) for _ in range(8)]

    def create(first: int) -> None:
        for number in range(first, count, 8):
            wish = {"Name": f"bench{number}", "Labels": {_MARK: ""}}
            clients[first].call("POST", "/volumes/create", wish)

    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(8)))
        for client in clients:
            client.close()
        yield
    finally:
        only_these = quote(json.dumps({"label": [_MARK]}))
        peer.client.call("POST", f"/volumes/prune?filters={only_these}")


def volume_path(peer: Peer, name: str) -> Path:
    return Path(peer.client.call("GET", f"/volumes/{name}")["Mountpoint"])
