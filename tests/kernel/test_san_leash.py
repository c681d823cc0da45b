"""A device that one host at a time may write to: reached only for as long as a file says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.san import SanVolumes
from orlop.errors import Conflict, Unavailable
from orlop.testing.volume_fixtures import RECORD, new_id
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san
from support.leaks import find_leaks
from support.leashes import lengthened, write_leash

pytestmark = needs_san


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IscsiTarget]:
    with iscsi_target(tmp_path_factory.mktemp("target")) as found:
        yield found


@pytest.fixture
def driver(tmp_path: Path, target: IscsiTarget) -> Iterator[SanVolumes]:
    if 1 not in target.luns:
        target.lun(1)
    made = SanVolumes(tmp_path / "volumes", tmp_path / "run")
    made.create("data", target.options(), RECORD)
    yield made
    made.detach_others(())
    places = [tmp_path / "run", tmp_path / "volumes"]
    wait_for("everything to be gone", lambda: not find_leaks(places), 40)
    made.close()


def _fails_to_write(data: Path) -> bool:
    try:
        with (data / "late").open("w") as file:
            file.write("late")
            os.fsync(file.fileno())
    except OSError:
        return True
    return False


def test_nothing_is_written_once_the_leash_is_over(driver: SanVolumes, tmp_path: Path) -> None:
    with lengthened(tmp_path / "leash", 4) as leash:
        driver.tie("data", leash)
        data = driver.attach("data", new_id())
        (data / "early").write_text("early")
        assert not _fails_to_write(data)
    wait_for("the end of the leash", lambda: _fails_to_write(data))


def test_what_is_cut_is_written_out_first_and_comes_back_on_a_new_leash(driver: SanVolumes, tmp_path: Path) -> None:
    driver.tie("data", write_leash(tmp_path / "first", 100))
    use = new_id()
    data = driver.attach("data", use)
    (data / "kept").write_text("kept")
    driver.cut("data", 10)
    assert _fails_to_write(data)
    with pytest.raises(Unavailable, match="lost its write access"):
        driver.attach("data", new_id())
    driver.detach("data", use)
    driver.tie("data", write_leash(tmp_path / "second", 100))
    assert (driver.attach("data", use) / "kept").read_text() == "kept"


def test_what_hangs_on_an_old_leash_is_ended_before_the_volume_is_attached_anew(
    driver: SanVolumes, tmp_path: Path
) -> None:
    driver.tie("data", write_leash(tmp_path / "first", 100))
    first = driver.attach("data", new_id())
    old = os.open(first / "open", os.O_WRONLY | os.O_CREAT)
    try:
        driver.tie("data", write_leash(tmp_path / "second", 100))
        second = driver.attach("data", new_id())
        (second / "new").write_text("new")
        with pytest.raises(OSError, match=r"rror|onnected|nly"):
            os.write(old, b"x")
            os.fsync(old)
    finally:
        os.close(old)


def test_another_device_than_the_one_that_other_hosts_know_is_refused(driver: SanVolumes) -> None:
    use = new_id()
    driver.attach("data", use)
    driver.detach("data", use)
    known = driver.identity("data")
    assert known
    driver.expect("data", known)
    driver.attach("data", use)
    driver.detach("data", use)
    driver.expect("data", "6d1b8a0e-0000-4000-8000-000000000000")
    with pytest.raises(Conflict):
        driver.attach("data", use)
