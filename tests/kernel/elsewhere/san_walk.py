"""A process that uses a SAN volume by the kernel's initiator or its NBD client is killed between any two calls that
change something, or when it has just started a program, which then goes on alone. Its successor finds, finishes or
undoes what was begun: every byte is there, the volume is usable at once, and no session, device, mount, reservation or
program is left. test_elsewhere.py has another kernel play this: all of it (ORLOP_STEPS=all), or some of each walk.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san import SanVolumes
from orlop.testing.volume_fixtures import RECORD
from support.daemon import wait_for
from support.dying import dies_at, dies_beside
from support.iscsi_target import nbd_server
from support.leaks import find_leaks
from support.lio_target import LioTarget
from support.san_sessions import connected_nbd, leash, names_in, sessions

USE, OTHER, RETIRED = "a" * 64, "b" * 64, "d" * 64
MIB = 1 << 20
ALL = os.environ.get("ORLOP_STEPS") == "all"


@dataclass(frozen=True)
class House:
    """A device, and the places of a driver for it."""

    root: Path
    options: Mapping[str, str]
    image: Path
    leash: Path
    reserved_by: Callable[[], str]
    enlarge: Callable[[], object]

    def open(self) -> SanVolumes:
        driver = SanVolumes(self.root / "volumes", self.root / "run")
        driver.tie("data", self.leash, 1)
        return driver

    def once(self, act: "Act") -> None:
        MountProgram._children.clear()  # of a parent, they are anybody's
        driver = self.open()
        act(driver, self)
        driver.close()

    def left(self) -> list[str]:
        found = [*sessions(), *connected_nbd(), *find_leaks([self.root])]
        found += [str(path) for name in ("sessions", "nbd", "programs", "busy") for path in self._in(name)]
        return found + [self.reserved_by()] * bool(self.reserved_by())

    def _in(self, name: str) -> list[Path]:
        folder = self.root / "run" / name
        return list(folder.iterdir()) if folder.exists() else []


Act = Callable[[SanVolumes, House], object]


@dataclass(frozen=True)
class Walk:
    act: Act
    prepare: Act = lambda driver, house: None
    uses: tuple[str, ...] = ()
    is_blank: bool = False


def create(driver: SanVolumes, house: House) -> None:
    driver.create("data", house.options, RECORD)


def attach(driver: SanVolumes, house: House) -> None:
    driver.attach("data", USE)


def detach(driver: SanVolumes, house: House) -> None:
    driver.detach("data", USE)


def used(driver: SanVolumes, house: House) -> None:
    create(driver, house)
    driver.attach("data", USE)


def enlarged(driver: SanVolumes, house: House) -> None:
    used(driver, house)
    house.enlarge()


def grow(driver: SanVolumes, house: House) -> None:
    driver.change("data", house.options, RECORD)


def remove(driver: SanVolumes, house: House) -> None:
    driver.retire("data", RETIRED, RECORD)
    driver.purge(RETIRED)


WALKS = {
    "create": Walk(create, is_blank=True),
    "first attach": Walk(attach, create, is_blank=True),
    "attach": Walk(attach, create),
    "detach": Walk(detach, used),
    "grow": Walk(grow, enlarged, uses=(USE,)),
    "remove": Walk(remove, create),
}
# Usually: beside which of their programs.
ISCSI = {"first attach": (5,), "attach": (0,)}  # mkfs, the login
NBD = {"attach": (4,)}  # the mount


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LioTarget:
    return LioTarget(tmp_path_factory.mktemp("lio"))


@pytest.fixture
def iscsi(target: LioTarget, tmp_path: Path) -> House:
    image = target.lun(1)
    sizes = count(72, 8)

    def enlarge() -> None:
        target.lun(1, next(sizes) * MIB)

    options = target.options(1)
    return House(tmp_path, options, image, leash(tmp_path, "leash", 9000), lambda: target.reserved_by(1), enlarge)


@pytest.fixture
def nbd(tmp_path: Path) -> Iterator[House]:
    with nbd_server(tmp_path) as server:
        options = {**server.options(), "via": "kernel"}
        yield House(tmp_path / "house", options, server.path, leash(tmp_path, "leash", 9000), lambda: "", lambda: None)


@pytest.mark.parametrize("name", WALKS if ALL else ISCSI)
def test_a_unit_by_iscsi(iscsi: House, name: str) -> None:
    play(iscsi, name, ISCSI.get(name, ()))


@pytest.mark.parametrize("name", [name for name in WALKS if name != "grow"] if ALL else NBD)
def test_an_export_by_nbd(nbd: House, name: str) -> None:
    play(nbd, name, NBD.get(name, ()))


def play(house: House, name: str, chosen: tuple[int, ...]) -> None:
    walk = WALKS[name]
    if not walk.is_blank:
        house.once(lambda driver, house: check_use(driver, house, had=False))
    for dies in (dies_at, dies_beside) if ALL else (dies_beside,):
        for step in count() if ALL else chosen:
            if not die(house, walk, partial(dies, step), f"{name}, {dies.__name__} {step}"):
                assert ALL and step, f"{name} has {step} steps only"
                break


def die(house: House, walk: Walk, dies: Callable[[Callable[[], object]], bool], where: str) -> bool:
    if walk.is_blank:
        size = house.image.stat().st_size
        os.truncate(house.image, 0)
        os.truncate(house.image, size)
    house.once(walk.prepare)
    died = dies(lambda: house.once(walk.act))
    try:
        house.once(lambda driver, house: check(driver, house, walk))
    except BaseException as error:
        error.add_note(where)
        raise
    return died


def check(driver: SanVolumes, house: House, walk: Walk) -> None:
    """As a start of the daemon does, and a container that comes at once."""
    driver.detach_others(walk.uses)
    if driver.list_retired():
        driver.restore(RETIRED, "data", RECORD)
        driver.cleanup()
    check_use(driver, house, had=not walk.is_blank)
    for use in walk.uses:
        driver.detach("data", use)
    wait_for("everything to be let go of", lambda: not house.left(), 40)
    names = names_in(house.image)
    assert names == {".", "..", "note"}, names
    if walk.is_blank:
        driver.retire("data", RETIRED, RECORD)
        driver.purge(RETIRED)


def check_use(driver: SanVolumes, house: House, had: bool) -> None:
    create(driver, house)  # which is success where it is there
    note = driver.attach("data", OTHER) / "note"
    if had:
        assert note.read_text() == "kept"
    with note.open("w") as file:
        file.write("kept")
        file.flush()
        os.fsync(file.fileno())
    driver.detach("data", OTHER)
