"""A volume on its way to another host, where the storage that it goes to hangs: given up in time."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orlop.cluster.move_line import Door, Line, dial, make_identity
from orlop.engine import volume_move_patience
from orlop.engine.volume_mirroring import mirror_to, receive_from
from orlop.errors import Unavailable
from orlop.store import mirror_aside
from support.storage import Storage, mounted_storage

pytestmark = pytest.mark.usefixtures("needs_root")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with mounted_storage(tmp_path) as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    write(source / "a", "first\n")
    return source


def write(path: Path, text: str) -> None:
    """At a full second: the storage of this test keeps no fractions."""
    path.write_text(text)
    for each in (path, path.parent):
        os.utime(each, (1_000_000_000, 1_000_000_000))


class Receiving:
    """The target's side."""

    def __init__(self, door: Door, place: Path) -> None:
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._receive, args=(door, place))
        self._thread.start()

    def _receive(self, door: Door, place: Path) -> None:
        fd = os.open(place, _DIRECTORY)
        try:
            with closing(door.accept(10)) as line:
                receive_from(line, fd, "receive data")
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        finally:
            os.close(fd)

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def begun(place: Path) -> tuple[Line, Receiving]:
    here, there = make_identity("source"), make_identity("target")
    door = Door("127.0.0.1", there, here.certificate)
    receiving = Receiving(door, place)
    return dial(door.address, door.port, here, there.certificate), receiving


def test_storage_of_the_other_host_that_hangs_is_given_up_soon_while_nobody_may_use_the_volume(
    storage: Storage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_move_patience, "STILL_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(mirror_aside, "_ENDING_SECONDS", 0.1)
    line, receiving = begun(storage.place)
    fd = os.open(source, _DIRECTORY)
    try:
        with (
            pytest.raises(Unavailable, match=r"move data.*gave no answer for"),
            mirror_to(line, fd, lambda *told: None, "move data") as mirror,
        ):
            mirror.bring_most()
            assert (storage.behind / "a").read_text() == "first\n"
            write(source / "a", "second\n")
            storage.hang()
            mirror.bring_rest()
    finally:
        os.close(fd)
        line.close()
        storage.heal()
        receiving.join()
    assert isinstance(receiving.error, Unavailable)


def test_a_client_who_has_gone_is_noticed_though_nothing_gets_on(storage: Storage, source: Path) -> None:
    line, receiving = begun(storage.place)
    storage.hang()
    calls = iter(range(3))

    def told(step: str, entries: int, size: int) -> None:
        if next(calls, None) is None:
            raise KeyError("gone")

    fd = os.open(source, _DIRECTORY)
    try:
        with pytest.raises(KeyError, match="gone"), mirror_to(line, fd, told, "move data") as mirror:
            mirror.bring_most()
    finally:
        os.close(fd)
        line.close()
        storage.heal()
        receiving.join()


def test_all_that_is_there_arrives(tmp_path: Path, source: Path) -> None:
    (tmp_path / "target").mkdir()
    line, receiving = begun(tmp_path / "target")
    fd = os.open(source, _DIRECTORY)
    try:
        with mirror_to(line, fd, lambda *told: None, "move data") as mirror:
            mirror.bring_most()
            (source / "b").write_text("late\n")
            sent = mirror.bring_rest()
    finally:
        os.close(fd)
        line.close()
        receiving.join()
    assert receiving.error is None
    assert (sent.passes, sent.entries) == (2, 2)
    assert (tmp_path / "target/b").read_text() == "late\n"
