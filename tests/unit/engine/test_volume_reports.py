"""Reports of volumes: what is known from memory, what is counted for whom, what a removal would take."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from orlop.drivers.volumes.abilities import Measurement
from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine import measuring
from orlop.engine.container_records import ContainerRecords
from orlop.engine.disk_usage import DiskUsages
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.measuring import Measurer
from orlop.engine.volume_previews import VolumePreviews
from orlop.engine.volume_reports import VolumeReports
from orlop.engine.volume_trees import VolumeTrees
from orlop.engine.volumes import Volumes
from orlop.errors import HostFailure, Malformed, NoSuchVolume, NotFound, Unavailable
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.mount import Mount, MountKind
from orlop.model.volume import ANONYMOUS_LABEL, RetirementPolicy, Volume
from orlop.store.journal import Journal
from support.leaks import descriptors

CONTAINER = "c" * 64
SECONDS = 20
HOUR_NS = 3600 * 1_000_000_000


class Engine:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / "journal.db")
        self.driver = LocalVolumes(root / "volumes")
        self.volumes = Volumes(
            *(self.journal, Executor(self.journal), {"local": self.driver}, Events(), root / "subpaths"),
            policy=RetirementPolicy(3600, 60),
        )
        self.volumes.reconcile()
        self.records = ContainerRecords(self.journal)
        self.measurer = Measurer()
        self.reports = VolumeReports(self.volumes, {"local": self.driver}, self.records, self.measurer)
        self.previews = VolumePreviews(self.volumes, {"local": self.driver}, self.reports)

    def make(self, name: str, content: bytes = b"", **given: dict[str, str]) -> Volume:
        volume = self.volumes.create(name, "", given.get("options"), given.get("labels"))
        if content:
            (Path(volume.mountpoint) / "file").write_bytes(content)
        return volume

    def use(self, name: str, running: bool) -> None:
        mount = Mount(MountKind.VOLUME, "/data", "", volume=name, driver="local", read_only=True)
        state = ContainerState.RUNNING if running else ContainerState.EXITED
        self.records.remember(
            Container(
                id=CONTAINER,
                name="app",
                created_at_ns=1,
                image_id="sha256:1",
                config=ContainerConfig(),
                host=HostConfig(),
                layer_id="l",
                path="sh",
                mounts=(mount,),
                status=Status(state),
            )
        )
        self.volumes.hold(name, CONTAINER)

    def close(self) -> None:
        self.measurer.close()
        self.volumes.close()
        self.journal.close()
        self.driver.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.close()


def hang(engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, gate: Callable[[], object]) -> None:
    """Storage under one volume that does not answer."""
    real = engine.driver.measure

    def measure(asked: str, stop: Callable[[], bool]) -> Measurement | None:
        if asked == name:
            gate()
        return real(asked, stop)

    monkeypatch.setattr(engine.driver, "measure", measure)


def test_memory_tells_users_and_what_was_counted_before(engine: Engine) -> None:
    volume = engine.make("data", b"x" * 100)
    assert engine.reports.of(volume).facts.size_bytes == -1
    engine.reports.list_reports({}, SECONDS)
    engine.use("data", running=True)
    report = engine.reports.of(volume)
    assert (report.facts.size_bytes, report.is_current, report.in_use) == (100, True, True)
    (user,) = report.users
    assert (user.container, user.destination, user.writable, user.is_running) == ("app", "/data", False, True)


def test_a_listing_waits_for_what_was_never_counted_and_not_for_what_is_only_old(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = engine.make("data", b"x" * 100)
    (first,) = engine.reports.list_reports({}, SECONDS)
    assert (first.facts.size_bytes, first.is_current) == (100, True)
    walked: list[str] = []
    hang(engine, monkeypatch, "data", lambda: walked.append("data"))
    engine.reports.list_reports({}, SECONDS)
    assert walked == []
    engine.volumes.facts.changed(volume.id)
    (old,) = engine.reports.list_reports({}, SECONDS)
    assert old.facts.size_bytes == 100
    assert engine.reports.sizes([volume], SECONDS) == {"data": 100}
    assert walked[0] == "data"


def test_volumes_that_hang_are_unknown_and_keep_no_other_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, now = threading.Event(), [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: now[0]))
    volumes = [engine.make("data", b"x" * 100), engine.make("nfs"), engine.make("other", b"x" * 7)]

    def for_long() -> None:
        now[0] += SECONDS / 2
        gate.wait(SECONDS)

    hang(engine, monkeypatch, "nfs", for_long)
    assert engine.reports.sizes(volumes, SECONDS) == {"data": 100, "nfs": -1, "other": 7}
    gate.set()


def test_what_cannot_be_told_is_not_asked_for_at_every_listing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.make("memory", options={"type": "tmpfs", "device": "tmpfs"})
    walked: list[str] = []
    hang(engine, monkeypatch, "memory", lambda: walked.append("memory"))
    for _ in range(3):
        (report,) = engine.reports.list_reports({}, SECONDS)
        assert report.facts.size_bytes == -1
    assert len(walked) <= 1


def test_a_tree_too_deep_is_not_counted_and_descriptors_do_not_run_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.drivers.volumes.local_usage.DEEPEST", 5)
    volume = engine.make("deep")
    (Path(volume.mountpoint) / "a/b/c/d/e/f/g").mkdir(parents=True)
    before = descriptors()
    assert engine.reports.sizes([volume], SECONDS) == {"deep": -1}
    assert descriptors() <= before


def test_a_limit_is_told(engine: Engine) -> None:
    volume = Volume("data", "1" * 64, "local", 1, "", None, {"size": "10m", "inodes": "7"})
    limits = engine.reports.of(volume).limits
    assert (limits.size_bytes, limits.inodes) == (10 << 20, 7)


def test_a_preview_of_a_removal_says_what_stays_and_why(engine: Engine) -> None:
    engine.make("free", b"x" * 9)
    engine.make("used")
    engine.make("kept", labels={"orlop.protect": "true"})
    engine.use("used", running=False)
    found = {each.name: each for each in engine.previews.of_removal(["free", "used", "kept", "ghost"], SECONDS)}
    assert {name: each.stays_because for name, each in found.items()} == {
        "free": "",
        "used": "in use by app",
        "kept": "protected by its label orlop.protect",
        "ghost": "no such volume",
    }
    assert found["free"].report
    assert found["free"].report.facts.size_bytes == 9
    assert found["free"].purge_at_ns > HOUR_NS
    assert engine.volumes.get("free")


def test_a_preview_of_an_alias_s_removal_says_that_the_data_stays(engine: Engine) -> None:
    engine.make("old")
    engine.volumes.rename("old", "new", True)
    (found,) = engine.previews.of_removal(["old"])
    assert found.stays_because == "only this name of the volume new goes; its data stays"


def test_a_preview_of_a_prune_is_what_the_prune_takes(engine: Engine) -> None:
    engine.make("", labels={"a": "b"})
    engine.make("named")
    engine.make("used", labels={ANONYMOUS_LABEL: ""})
    engine.make("kept", labels={ANONYMOUS_LABEL: "", "orlop.protect": "true"})
    engine.make("memory", options={"type": "tmpfs", "device": "tmpfs"})
    engine.use("used", running=False)
    anonymous = engine.previews.of_prune({}, False)
    assert {each.name: each.stays_because for each in anonymous if each.stays_because} == {
        "used": "in use by app",
        "kept": "protected by its label orlop.protect",
    }
    everything = {each.name: each.stays_because for each in engine.previews.of_prune({}, True)}
    assert everything["memory"].startswith("prune leaves volumes")
    goes = [name for name, why in everything.items() if not why]
    assert sorted(engine.volumes.prune({}, True).removed) == sorted(goes)


# One volume, walked now


def test_a_path_in_a_volume_is_walked(engine: Engine) -> None:
    data = Path(engine.make("data", b"x" * 100).mountpoint)
    (data / "sub").mkdir()
    (data / "sub" / "more").write_bytes(b"x" * 7)
    (data / "out").symlink_to("/etc")
    (data / "in").symlink_to("sub")
    trees = VolumeTrees(engine.volumes.access)
    whole, _ = trees.measure("data", "", 1)
    assert whole[0].size_bytes == 107 + len("/etc") + len("sub")
    for path in ("sub", "/sub/", "in"):
        assert trees.measure("data", path, 1)[0][0].size_bytes == 7
    assert trees.measure("data", "sub/more", 1)[0][0].size_bytes == 7
    for path in ("out", "..", "sub/../../x"):
        with pytest.raises(Malformed):
            trees.measure("data", path, 1)
    with pytest.raises(NotFound):
        trees.measure("data", "nowhere", 1)
    with pytest.raises(NoSuchVolume):
        trees.measure("ghost", "", 1)


def test_a_volume_that_moves_before_it_is_opened_is_looked_up_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.make("data", b"x" * 100)
    access = engine.volumes.access
    real = access._attach
    places = [engine.root / "moved"]

    def attach(volume: Volume, use: str) -> Path:
        path = real(volume, use)
        return places.pop() if places else path

    monkeypatch.setattr(access, "_attach", attach)
    assert VolumeTrees(access).measure("data", "", 0)[0][0].size_bytes == 100
    places += [engine.root / "moved"] * 3
    with pytest.raises(HostFailure, match="opening volume data"):
        VolumeTrees(access).measure("data", "", 0)
    assert not access._open


def test_storage_that_stops_answering_ends_a_walk_at_a_deadline(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stalled(*_: object) -> None:
        raise TimeoutError(110, "no progress for 30 s")

    engine.make("data")
    monkeypatch.setattr("orlop.engine.volume_trees.run_task", stalled)
    with pytest.raises(Unavailable, match="has not answered"):
        VolumeTrees(engine.volumes.access).measure("data", "", 1)


def test_a_walk_ends_when_nobody_wants_it_any_more(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(module: str, task: object, out: object, progress: Callable[[object], None], *_: object) -> None:
        for count in range(100):
            progress({"path": "", "entries": count})
        raise AssertionError("it was not stopped")

    engine.make("data")
    monkeypatch.setattr("orlop.engine.volume_trees.run_task", endless)
    rows, _ = VolumeTrees(engine.volumes.access).measure("data", "", 1, lambda so_far: so_far.entries < 5)
    assert rows[0].entries == 5


def test_a_counter_is_asked_first_and_a_walk_only_for_the_last_write(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = engine.make("data", b"x" * 100, options={"uid": "1000"})
    monkeypatch.setattr(engine.driver, "counted", lambda name: Measurement(4096, 4096, 1, 0))
    engine.reports.list_reports({}, SECONDS)
    while not engine.volumes.facts.find(volume.id).last_write_ns:
        threading.Event().wait(0.002)
    (report,) = engine.reports.list_reports({}, SECONDS)
    assert (report.facts.size_bytes, report.is_current) == (4096, True)


# Disk usage


class NoImages:
    def list_images(self, filters: object, everything: bool) -> list[object]:
        return []

    def layers_bytes(self) -> int:
        return 0


def test_who_asks_while_it_is_worked_out_gets_that_result(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.make("data", b"x" * 100)
    engine.make("memory", options={"type": "tmpfs", "device": "tmpfs"})
    gate, calls = threading.Event(), []
    real = engine.reports.sizes

    class Counting(VolumeReports):
        def sizes(self, volumes: object, seconds: float) -> dict[str, int]:
            calls.append(volumes)
            gate.wait(SECONDS)
            return real(volumes, seconds)  # type: ignore[arg-type]

    reports = Counting(engine.volumes, {"local": engine.driver}, engine.records, engine.measurer)
    usages = DiskUsages(engine.records, NoImages(), None, reports)  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(usages.find, ["volume"]) for _ in range(4)]
        while not calls:
            threading.Event().wait(0.002)
        while pool._work_queue.qsize():
            threading.Event().wait(0.002)
        gate.set()
        found = [future.result(SECONDS) for future in asked]
    assert all(each.volumes == (("data", 100, 0),) for each in found)
    assert len(calls) < 4
