"""Looking at, packing, unpacking and copying what does not answer any more, at any moment: it ends with the reason."""

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.archive.stalling import Stall
from orlop.engine.archive_child import ArchiveChild
from orlop.engine.archive_work import PathStat, Unpacking
from orlop.engine.views import View
from orlop.errors import OrlopError, Unavailable
from orlop.kernel.answering import Answering
from orlop.kernel.foreign import foreign_mounts, is_foreign_type, real_path
from orlop.store import tree_worker
from support.storage import Storage, mounted_storage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
LARGE = 1 << 20


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with mounted_storage(tmp_path) as made:
        (made.behind / "d" / "sub").mkdir(parents=True)
        (made.behind / "d" / "large").write_bytes(b"x" * LARGE)
        (made.behind / "d" / "sub" / "note").write_text("kept")
        yield made


@pytest.fixture
def view(storage: Storage, tmp_path: Path) -> Iterator[View]:
    """Of a directory in which the storage is mounted."""
    root_fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    yield View(root_fd, foreign=(str(storage.place),))
    os.close(root_fd)


def packed(view: View, patience_seconds: float = 10.0) -> bytes:
    with os.fdopen(os.memfd_create("tar"), "w+b", buffering=0) as out:
        told: list[PathStat] = []
        ArchiveChild(view, "/storage/d", "here", patience_seconds).get(out, told.append)
        assert [found.name for found in told] == ["d"]
        out.seek(0)
        return out.read()


@pytest.mark.parametrize("after", [1, 5, 10])
def test_packing_ends_wherever_the_storage_stops_answering(storage: Storage, view: View, after: int) -> None:
    storage.hang(after=after)
    with pytest.raises(Unavailable) as told:
        packed(view, 1.0)
    assert str(storage.place) in told.value.message
    storage.heal()
    with tarfile.open(fileobj=io.BytesIO(packed(view))) as archive:
        assert sorted(archive.getnames()) == ["d", "d/large", "d/sub", "d/sub/note"]


@pytest.mark.parametrize("after", [1, 6])
def test_unpacking_ends_wherever_the_storage_stops_answering(
    storage: Storage, view: View, tmp_path: Path, after: int
) -> None:
    with tarfile.open(tmp_path / "upload.tar", "w") as archive:
        archive.add(storage.behind / "d" / "large", "new/large")
    upload = Unpacking(tmp_path / "upload.tar", False, "", (), False, True)
    storage.hang(after=after)
    with pytest.raises(Unavailable):
        ArchiveChild(view, "/storage/d", "here", 1.0).put(upload)
    storage.heal()
    ArchiveChild(view, "/storage/d", "here", 10.0).put(upload)
    assert (storage.behind / "d" / "new" / "large").stat().st_size == LARGE


def test_a_look_ends_and_storage_that_fails_says_so(storage: Storage, view: View) -> None:
    storage.fail()
    with pytest.raises(OrlopError, match="Input/output error"):
        ArchiveChild(view, "/storage/d", "here", 10.0).stat()
    storage.hang()
    with pytest.raises(Unavailable):
        ArchiveChild(view, "/storage/d", "here", 1.0).stat()
    storage.heal()
    assert ArchiveChild(view, "/storage/d/sub/note", "here", 10.0).stat().size_bytes == len("kept")


def test_copying_a_tree_ends(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_worker, "_PATIENCE_SECONDS", 1.0)
    (tmp_path / "copy").mkdir()
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (storage.place, tmp_path / "copy")]
    storage.hang(after=5)
    with pytest.raises(TimeoutError):
        tree_worker.copy_aside(fds[0], fds[1], may_hang=True)
    storage.heal()
    for fd in fds:
        os.close(fd)


def test_a_slow_reader_is_no_silent_storage(view: View) -> None:
    """The pipe is full during all of the patience."""
    read_end, write_end = os.pipe()
    stall = Stall(0.1, writes_to=write_end)
    os.write(write_end, b"x")
    for _ in range(3):
        stall.check(os.getpid())
    out = os.fdopen(write_end, "wb", buffering=0)
    child = ArchiveChild(view, "/storage/d", "here", 1.0)
    worker = threading.Thread(target=lambda: [child.get(out, lambda found: None), out.close()])
    worker.start()
    worker.join(3)
    assert worker.is_alive(), "a megabyte does not fit into a pipe"
    with os.fdopen(read_end, "rb") as pipe:
        assert len(pipe.read()) > LARGE
    worker.join(10)
    assert not worker.is_alive()


def test_a_silent_path_is_asked_once_and_answers_again_when_it_heals(storage: Storage) -> None:
    answering, place = Answering(), str(storage.place / "d")
    assert answering.exists(place, 10.0)
    assert not answering.exists(f"{place}/none", 10.0)
    storage.hang()
    silent: list[str] = []

    def ask() -> None:
        with pytest.raises(TimeoutError):
            answering.exists(place, 0.5)
        silent.append(place)

    askers = [threading.Thread(target=ask) for _ in range(20)]
    for asker in askers:
        asker.start()
    looking = [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_look(pid, place)]
    assert len(looking) <= 1
    for asker in askers:
        asker.join()
    assert len(silent) == 20
    storage.heal()
    assert answering.exists(place, 10.0)


def _is_look(pid: str, place: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2:-1] == [os.fsencode(place)]
    except OSError:
        return False


def test_what_is_foreign_is_told_by_names_alone(storage: Storage, tmp_path: Path) -> None:
    storage.hang()
    place = str(storage.place)
    assert foreign_mounts(tmp_path) == foreign_mounts(storage.place) == foreign_mounts(f"{place}/d") == [place]
    assert foreign_mounts(storage.behind) == []
    assert real_path(f"{place}/d/link") == f"{place}/d/link"
    storage.heal()
    assert is_foreign_type("nfs4") and is_foreign_type("fuse.sshfs") and is_foreign_type("fuse")
    assert not is_foreign_type("ext4") and not is_foreign_type("overlay") and not is_foreign_type("fusectl")
