"""A data root is taken only when it is ours, of a format we know, and nobody else's now."""

import os
from pathlib import Path

import pytest

from orlop.daemon.roots import lock_for_recovery, open_data_root
from orlop.errors import Conflict, HostFailure, NotFound
from orlop.store.journal import Journal
from orlop.store.paths import DataRoot


def test_a_fresh_root_is_made_and_opened_again(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")
    os.close(open_data_root(root))
    assert root.format.read_text() == "1\n"
    os.close(open_data_root(root))


@pytest.mark.parametrize(
    ("stranger", "whose"),
    [
        ("engine-id", "Docker"),
        ("buildkit", "Docker"),
        ("libpod", "Podman"),
        ("storage.lock", "Podman"),
        ("photos", "photos"),
    ],
)
def test_somebody_elses_root_is_refused_with_a_way_out(tmp_path: Path, stranger: str, whose: str) -> None:
    (tmp_path / stranger).mkdir()
    with pytest.raises(Conflict) as caught:
        open_data_root(DataRoot(tmp_path))
    assert whose in caught.value.message
    assert "--data-root" in caught.value.message
    assert "orlop adopt" not in caught.value.message
    assert [entry.name for entry in tmp_path.iterdir()] == [stranger]
    (tmp_path / "volumes").mkdir()
    with pytest.raises(Conflict) as caught:
        open_data_root(DataRoot(tmp_path))
    assert (f"orlop adopt {tmp_path} --dry-run" in caught.value.message) == (whose != "photos")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    os.close(open_data_root(DataRoot(tmp_path)))
    DataRoot(tmp_path).format.write_text("99\n")
    with pytest.raises(Conflict, match="newer Orlop"):
        open_data_root(DataRoot(tmp_path))


def test_a_root_in_use_says_by_whom(tmp_path: Path) -> None:
    lock = open_data_root(DataRoot(tmp_path))
    with pytest.raises(Conflict, match=f"in use by pid {os.getpid()} since"):
        open_data_root(DataRoot(tmp_path))
    os.close(lock)
    os.close(open_data_root(DataRoot(tmp_path)))


def test_a_root_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostFailure, match="--data-root"):
        open_data_root(DataRoot(tmp_path / "file" / "data"))


@pytest.mark.parametrize("folder", ["overlay2", "vfs/dir", "containers"])
def test_a_lost_journal_does_not_cost_containers_and_images(tmp_path: Path, folder: str) -> None:
    data_root = DataRoot(tmp_path / "root")
    os.close(open_data_root(data_root))
    (data_root.volumes / "data" / "_data").mkdir(parents=True)
    os.close(open_data_root(data_root))  # volumes are found by their folders
    precious = data_root.path / folder / ("a" * 64)
    precious.mkdir(parents=True)
    with pytest.raises(Conflict, match=r"its journal .* is missing.*orlop recover --data-root"):
        open_data_root(data_root)
    for nothing in (b"", b"no database"):
        data_root.journal.write_bytes(nothing)
        with pytest.raises(Conflict, match=r"its journal .* is not usable .*orlop recover --data-root"):
            open_data_root(data_root)
    assert precious.is_dir()
    data_root.journal.unlink()
    Journal(data_root.journal).close()
    os.close(open_data_root(data_root))


def test_a_journal_that_is_no_database_is_never_begun_anew(tmp_path: Path) -> None:
    data_root = DataRoot(tmp_path)
    os.close(open_data_root(data_root))
    data_root.journal.write_bytes(b"no database")
    with pytest.raises(Conflict, match="it is no database"):
        open_data_root(data_root)
    data_root.journal.unlink()
    data_root.journal.with_name("journal.db-wal").write_bytes(b"frames")
    with pytest.raises(Conflict, match="only its log is there"):
        open_data_root(data_root)


def test_a_root_that_lost_its_own_folder_is_not_taken_for_a_strangers(tmp_path: Path) -> None:
    volume = tmp_path / "volumes/data"
    (volume / "_data").mkdir(parents=True)
    with pytest.raises(Conflict, match="not Orlop's"):
        open_data_root(DataRoot(tmp_path))
    (volume / "orlop.json").write_text("{}")
    with pytest.raises(Conflict, match="orlop recover --data-root"):
        open_data_root(DataRoot(tmp_path))
    os.close(lock_for_recovery(DataRoot(tmp_path)))


@pytest.mark.parametrize("there", [[], ["photos"], ["engine-id", "volumes"]])
def test_nothing_is_recovered_where_nothing_is_ours(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises((NotFound, Conflict)):
        lock_for_recovery(DataRoot(tmp_path))
    with pytest.raises(NotFound):
        lock_for_recovery(DataRoot(tmp_path / "absent"))
    assert sorted(path.name for path in tmp_path.iterdir()) == there
