"""The copy of a volume that moves, where the storage that it goes to hangs or lacks something: given up in time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine import volume_move_patience
from orlop.engine.volume_move_copy import MoveCopy
from orlop.engine.volume_move_terms import MoveWish, Phase, parse_losses
from orlop.errors import Unavailable, Unsupported
from orlop.store import mirror_aside
from support.storage import Storage, mounted_storage

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with mounted_storage(tmp_path) as found:
        yield found


def copy_of(source: Path, target: Path, lose: str = "all") -> MoveCopy:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    wish = MoveWish("local", may_lose=parse_losses([lose]))
    return MoveCopy("move data", os.open(source, flags), os.open(target, flags), wish, lambda told: None, None)


def test_while_users_stand_still_storage_that_hangs_is_given_up_soon(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_move_patience, "STILL_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(mirror_aside, "_ENDING_SECONDS", 0.1)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("first\n")
    copy = copy_of(source, storage.place)
    try:
        copy.bring(Phase.COPYING)
        copy.compare(Phase.COPYING)
        assert (storage.behind / "a").read_text() == "first\n"
        (source / "a").write_text("second\n")
        storage.hang()
        with pytest.raises(Unavailable, match="gave no answer for"):
            copy.bring(Phase.SETTLING)
    finally:
        copy.close()
    storage.heal()
    assert (source / "a").read_text() == "second\n"


def test_what_storage_lacks_is_told_with_the_words_that_let_it_go(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("x")
    (source / "b").hardlink_to(source / "a")
    copy = copy_of(source, storage.place, "owners")
    try:
        with pytest.raises(Unsupported, match="hard links") as raised:
            copy.bring(Phase.COPYING)
        assert "--lose acls,hard-links" in raised.value.hint
    finally:
        copy.close()
