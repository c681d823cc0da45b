"""Write access of one host at a time, towards drivers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_writing import VolumeWriting
from orlop.model.cluster import Access, GlobalVolume, Writer


class Driver:
    def __init__(self) -> None:
        self.ties: list[tuple[str, Path, int]] = []

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None:
        self.ties.append((name, leash, epoch))

    def is_reached(self, name: str) -> bool:
        return False

    def cut(self, name: str, seconds: float) -> None: ...


def test_a_driver_is_told_the_epoch_that_storage_knows_hosts_by() -> None:
    volume = SimpleNamespace(id="v1", name="db", driver="san", options={}, aliases=(), is_shared=True)
    entry = GlobalVolume("db", "v1", "san", Access.RWO, 0, "one")
    writers = SimpleNamespace(
        node="one",
        on_lost=lambda told: None,
        acquire=lambda entry, containers, wait: Writer("v1", "one", 7, 0),
        held=lambda: {"v1": Writer("v1", "one", 7, 0)},
        leash=lambda volume_id: Path("/run/leash"),
    )
    shared = SimpleNamespace(
        find=lambda name: entry,
        required=lambda subject: None,
        access_of=lambda volume: Access.RWO,
        twins=lambda entry: [],
        remarks={},
    )
    records = SimpleNamespace(all=lambda: [volume])
    driver = Driver()
    wired: Any = (writers, shared, records, {"san": driver}, VolumeLocks(cast(Any, records)))
    writing = VolumeWriting(*wired)
    writing.begin(cast(Any, volume), "use")
    assert driver.ties == [("db", Path("/run/leash"), 7)]

    after = VolumeWriting(*wired)  # the next daemon
    after.remember(cast(Any, volume), "use")
    after.start()
    assert driver.ties == [("db", Path("/run/leash"), 7)] * 2
