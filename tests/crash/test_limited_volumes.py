"""The daemon is killed between any two calls to the kernel while it makes, attaches, detaches, resizes, fills or throws
away a limited volume: nothing is left mounted or attached, and the volume is as before or as wished."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import NotFound
from orlop.kernel.mounts import mounts_at_or_below
from support.daemon import wait_for
from support.disks import mounted_disk
from support.dying import dies_at

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

FIRST, SECOND, RETIRED = "1" * 64, "2" * 64, "a" * 64
Act = Callable[[LocalVolumes], object]


@pytest.fixture(params=["image", "btrfs"])
def top(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "image":
        yield tmp_path
        return
    with mounted_disk(tmp_path, 256 << 20, "btrfs") as disk:
        yield disk


def create(driver: LocalVolumes) -> None:
    driver.create("data", {"size": "8m", "mode": "0750"}, '{"id": "1"}')


def prepare_written(driver: LocalVolumes) -> None:
    create(driver)
    (driver.attach("data", FIRST) / "note").write_text("kept")
    driver.detach("data", FIRST)


def prepare_attached(driver: LocalVolumes) -> None:
    prepare_written(driver)
    driver.attach("data", FIRST)


def prepare_retired(driver: LocalVolumes) -> None:
    prepare_written(driver)
    driver.retire("data", RETIRED, "")
    driver.purge(RETIRED)


def attach(driver: LocalVolumes) -> None:
    driver.attach("data", SECOND)


def detach(driver: LocalVolumes) -> None:
    driver.detach("data", FIRST)


def grow(driver: LocalVolumes) -> None:
    driver.change("data", {"size": "12m"}, '{"id": "2"}')


def fill(driver: LocalVolumes) -> None:
    (driver.prepare("filling", {"size": "8m"}, '{"id": "1"}') / "note").write_text("kept")
    driver.reveal("filling", "data")


def discard(driver: LocalVolumes) -> None:
    driver.discard("data")


def cleanup(driver: LocalVolumes) -> None:
    driver.cleanup()


def nothing(driver: LocalVolumes) -> None:
    pass


# What is done, what was done before, which notes there may be afterwards (None: no volume), and every how many steps
# it is tried: some make several file systems each time, and much of it is alike.
WALKS: dict[str, tuple[Act, Act, tuple[str | None, ...], int]] = {
    "create": (create, nothing, (None, ""), 1),
    "attach": (attach, prepare_written, ("kept",), 1),
    "detach": (detach, prepare_attached, ("kept",), 1),
    "grow": (grow, prepare_written, ("kept",), 5),
    "fill": (fill, nothing, (None, "kept"), 3),
    "discard": (discard, create, (None,), 1),
    "cleanup": (cleanup, prepare_retired, (None,), 1),
}


@pytest.mark.parametrize("name", WALKS)
def test_killed_between_any_two_calls_nothing_is_left_and_nothing_is_lost(name: str, top: Path) -> None:
    act, prepare, allowed, stride = WALKS[name]
    died = True
    step = 0
    while died:
        root = top / f"volumes{step}"
        play(root, prepare)
        died = dies_at(step, lambda root=root: play(root, act))  # type: ignore[misc]
        check(root, act, allowed, f"{name}, step {step}")
        step += stride
    assert step > 3


def play(root: Path, act: Act) -> None:
    driver = LocalVolumes(root)
    act(driver)
    driver.close()


def check(root: Path, act: Act, allowed: tuple[str | None, ...], where: str) -> None:
    """As a start of the daemon does, with no container that runs."""
    driver = LocalVolumes(root)
    for token in driver.list_staged():
        driver.unstage(token)
    driver.detach_others(set())
    driver.cleanup()
    if act is discard:
        discard(driver)  # an undo that was cut off is done again; in between, nobody sees the volume
    found = note(driver)
    assert found in allowed, where
    assert mounts_at_or_below(root) == [], where
    wait_for("the loop devices to go", lambda: loop_devices(root) == [])
    if act is not fill or found is None:
        act(driver)
    driver.detach_others(set())
    assert note(driver) == allowed[-1], where
    assert {path.name for path in root.iterdir()} <= {"data", ".staging", ".retired", ".purging"}
    if act is grow:
        assert driver.limits("data").size_bytes == 12 << 20, where
    remove(driver)
    driver.close()


def note(driver: LocalVolumes) -> str | None:
    try:
        path = driver.attach("data", "f" * 64)
    except NotFound:
        return None
    try:
        assert driver.limits("data").size_bytes >= 8 << 20
        return (path / "note").read_text()
    except OSError as error:
        assert error.errno == errno.ENOENT
        return ""
    finally:
        driver.detach("data", "f" * 64)


def remove(driver: LocalVolumes) -> None:
    for volume in driver.list_volumes():
        assert not volume.problem
        driver.retire(volume.name, "e" * 64, "")
        driver.purge("e" * 64)
    driver.cleanup()
    for folder in (".staging", ".retired", ".purging"):
        assert os.listdir(driver.root / folder) == []


def loop_devices(root: Path) -> list[str]:
    said = subprocess.run(["losetup", "-l", "-n", "-O", "NAME,BACK-FILE"], check=True, capture_output=True, text=True)
    return [line for line in said.stdout.splitlines() if f"{root}/" in line]
