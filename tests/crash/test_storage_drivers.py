"""A process that uses a driver for storage elsewhere is killed between any two calls that change something; its
successor finds every byte, and leaves no mount, no program and no loop device behind.

One kind of storage a driver, the cheapest that is real. Usually one step of every other walk is played; `--long` plays
all of all.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from orlop.drivers.volumes import served
from orlop.drivers.volumes.abilities import HealthState, LastingUses, Mending, Retirement, Watched
from orlop.drivers.volumes.cloud import CloudBackend
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.encrypted import EncryptedVolumes
from orlop.drivers.volumes.gocryptfs import Inner
from orlop.drivers.volumes.juicefs import JuicefsBackend
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.nas import NasBackend
from orlop.drivers.volumes.san import SanVolumes
from orlop.drivers.volumes.served import ServedVolumes
from orlop.drivers.volumes.served_backend import Backend
from orlop.errors import ActiveMounts, NotFound
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from support.daemon import wait_for
from support.dying import dies_at
from support.iscsi_target import iscsi_target, needs_san
from support.leaks import find_leaks
from support.nas import webdav

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

USE, OTHER, RETIRED = "a" * 64, "b" * 64, "d" * 64
RECORD = '{"id": "1"}'


class Driver(VolumeDriver, Retirement, LastingUses, Protocol):
    def close(self) -> None: ...


@dataclass
class Storage:
    """`open` gives the driver as a daemon that starts has it; `options` are for `create`."""

    place: Path
    open: Callable[[Path], Driver]
    options: Mapping[str, str]
    keeps_bytes: bool = False  # False: a purge leaves them where they are

    def root(self, walk: str, step: int) -> Path:
        root = self.place / f"{walk}-{step}"
        root.mkdir()
        return root


def program(backend: Backend, secrets: Mapping[str, str]) -> Callable[[Path], Driver]:
    def resolve(options: Mapping[str, str]) -> Mapping[str, str]:
        return {key: secrets.get(value.removeprefix("secret://"), value) for key, value in options.items()}

    return lambda root: ServedVolumes(root / "volumes", root / "run", backend, resolve)


def encrypted(root: Path) -> Driver:
    inner = root / "volumes/.inner"
    below: dict[str, Inner] = {"local": LocalVolumes(inner / "local")}
    below["cloud"] = ServedVolumes(inner / "cloud", root / "below", CloudBackend())
    key = {"key": "the key of the tests"}
    return EncryptedVolumes(root / "volumes", root / "run", below, lambda options: {**options, **key}, 10)


@pytest.fixture(scope="module")
def storages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Storage]]:
    """By name, each made when it is first wanted."""
    with ExitStack() as stack:
        made: dict[str, Storage] = {}
        stack.callback(lambda: [scrub(storage.place) for storage in made.values()])

        def make(name: str) -> Storage:
            if name not in made:
                place = tmp_path_factory.mktemp(name.replace(" ", "-"))
                far = place / "far"
                far.mkdir()
                if name == "cloud":
                    options = {"type": "alias", "rclone.remote": str(far)}
                    made[name] = Storage(place, program(CloudBackend(), {}), options)
                elif name == "nas":
                    share = stack.enter_context(webdav(far))
                    made[name] = Storage(place, program(NasBackend(), share.secrets), share.options)
                elif name == "juicefs":
                    options = {"meta": f"sqlite3://{place}/meta.db", "name": "tree", "bucket": str(far)}
                    made[name] = Storage(place, program(JuicefsBackend(), {}), options)
                elif name == "san":
                    target = stack.enter_context(iscsi_target(far, 1))
                    made[name] = Storage(
                        place, lambda root: SanVolumes(root / "volumes", root / "run"), target.options(1)
                    )
                elif name == "encrypted cloud":
                    options = {"driver": "cloud", "type": "alias", "rclone.remote": str(far)}
                    made[name] = Storage(place, encrypted, {**options, "key": "secret://vault"})
                else:
                    made[name] = Storage(place, encrypted, {"key": "secret://vault"}, keeps_bytes=True)
            return made[name]

        yield make


def scrub(place: Path) -> None:
    """What a test that failed left must not harm another one."""
    for kind, subject, *_ in (leak.split() for leak in find_leaks([place]) if not leak.endswith("of its own)")):
        if kind == "process":
            os.kill(int(subject), signal.SIGKILL)
    for entry in mounts_at_or_below(place):
        unmount(entry.mount_point, MNT_DETACH)


# What is done, each from the state that its preparation left


def nothing(storage: Storage, root: Path, driver: Driver) -> None:
    pass


def create(storage: Storage, root: Path, driver: Driver) -> None:
    driver.create("data", storage.options, RECORD)


def written(storage: Storage, root: Path, driver: Driver) -> None:
    attached(storage, root, driver)
    driver.detach("data", USE)


def attached(storage: Storage, root: Path, driver: Driver) -> None:
    create(storage, root, driver)
    (driver.attach("data", USE) / "note").write_text("kept")


def attach(storage: Storage, root: Path, driver: Driver) -> None:
    driver.attach("data", USE)


def attach_other(storage: Storage, root: Path, driver: Driver) -> None:
    driver.attach("data", OTHER)


def detach(storage: Storage, root: Path, driver: Driver) -> None:
    driver.detach("data", USE)


def remove(storage: Storage, root: Path, driver: Driver) -> None:
    driver.retire("data", RETIRED, RECORD)
    driver.purge(RETIRED)
    driver.cleanup()


def dead(storage: Storage, root: Path, driver: Driver) -> None:
    """Attached, and its program killed."""
    attached(storage, root, driver)
    assert isinstance(driver, Watched)
    (place,) = (root / "run").iterdir()
    os.kill(MountProgram(place).pid, signal.SIGKILL)
    wait_for("the mount to be stale", lambda: driver.health("data").state is HealthState.STALE)


def mend(storage: Storage, root: Path, driver: Driver) -> None:
    assert isinstance(driver, Mending)
    driver.mend("data", [USE])


@dataclass(frozen=True)
class Walk:
    prepare: Callable[[Storage, Path, Driver], None]
    act: Callable[[Storage, Path, Driver], None]
    uses: Collection[str] = ()  # that go on after the restart: their containers run


WALKS = {
    "create": Walk(nothing, create),
    "attach": Walk(written, attach),
    "first attach": Walk(create, attach),
    "second attach": Walk(attached, attach_other, (USE,)),
    "detach": Walk(attached, detach),
    "remove": Walk(written, remove),
    "mend": Walk(dead, mend, (USE,)),
}
DRIVERS = ("cloud", "nas", "juicefs", "encrypted", "encrypted cloud", "san")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to go in the background goes soon."""
    monkeypatch.setattr(served, "FINISH_SECONDS", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("driver", [*DRIVERS[:-1], pytest.param(DRIVERS[-1], marks=needs_san)])
def test_killed_between_any_two_calls(
    driver: str, storages: Callable[[str], Storage], request: pytest.FixtureRequest
) -> None:
    storage, number = storages(driver), DRIVERS.index(driver)
    # A device is not mounted anew under who uses it.
    names = [name for name in WALKS if (driver, name) != ("san", "mend")]
    if not request.config.getoption("--long"):
        for name in names[number % 2 :: 2]:
            _killed_at(storage, driver, name, (5 * number + 7 * len(name)) % 20)
        return
    for name in names:
        step = 0
        while _killed_at(storage, driver, name, step):
            step += 1
        assert step > 3


def _killed_at(storage: Storage, driver: str, name: str, step: int) -> bool:
    walk, root = WALKS[name], storage.root(name, step)
    once(storage, root, walk.prepare)
    died = dies_at(step, lambda: _alone(storage, root, walk.act))
    check(storage, root, walk, f"{driver} {name}, step {step}")
    return died


def _alone(storage: Storage, root: Path, act: Callable[[Storage, Path, Driver], None]) -> None:
    """In a child, to which the programs that its parent started are anybody's."""
    MountProgram._children.clear()
    once(storage, root, act)


def once(storage: Storage, root: Path, act: Callable[[Storage, Path, Driver], None]) -> None:
    driver = storage.open(root)
    act(storage, root, driver)
    driver.close()


def check(storage: Storage, root: Path, walk: Walk, where: str) -> None:
    """As a start of the daemon does, with what runs on still attached."""
    driver = storage.open(root)
    try:
        driver.detach_others(walk.uses)
        _insist(storage, root, driver, walk, where)
    except BaseException as error:
        error.add_note(where)
        raise
    finally:
        driver.close()


def _insist(storage: Storage, root: Path, driver: Driver, walk: Walk, where: str) -> None:
    if walk.uses:
        if walk.act is mend:
            mend(storage, root, driver)
            mend(storage, root, driver)
        (volume,) = driver.list_volumes()
        assert (Path(volume.mountpoint) / "note").read_text() == "kept"
        (Path(volume.mountpoint) / "more").write_text("more")
        driver.detach("data", USE)
    else:
        settled(root)
    was_purged = walk.act is remove and not _is_there(driver) and not driver.list_retired()
    if driver.list_retired():
        driver.restore(RETIRED, "data", RECORD)
    driver.cleanup()
    driver.create("data", storage.options, RECORD)  # which is success where it is there
    assert not driver.get("data").problem
    top = driver.attach("data", OTHER)
    if walk.prepare not in (nothing, create) and not (was_purged and storage.keeps_bytes):
        assert (top / "note").read_text() == "kept"
    (top / "note").write_text("kept")
    driver.detach("data", OTHER)
    wait_for("it to be let go of", lambda: _retires(driver))
    driver.purge(RETIRED)
    driver.cleanup()
    settled(root)
    left = {path.name for path in (root / "volumes").iterdir()}
    assert left <= {".staging", ".retired", ".purging", ".inner"}, left


def _is_there(driver: Driver) -> bool:
    try:
        driver.get("data")
    except NotFound:
        return False
    return True


def _retires(driver: Driver) -> bool:
    """Not as long as something that may not have been uploaded goes there in the background."""
    try:
        driver.retire("data", RETIRED, RECORD)
    except ActiveMounts:
        return False
    return True


def settled(root: Path) -> None:
    """What has to go may go in the background."""
    leaks: list[Any] = []

    def look() -> bool:
        # Whoever made a mount namespace meanwhile has copies of our mounts in it.
        leaks[:] = [leak for leak in find_leaks([root]) if not leak.endswith("of its own)")]
        return not leaks

    try:
        wait_for("everything to be gone", look)
    except AssertionError as error:
        raise AssertionError(f"{error}: {leaks}") from None
