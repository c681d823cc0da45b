"""The process is killed at each step of each operation on volumes, and started again: it happened or it did not, and
every byte that was not purged is there (promises 1 and 4)."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine import faults
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volume_copies import Changes
from orlop.engine.volumes import Volumes
from orlop.errors import NotFound
from orlop.model.volume import Volume
from orlop.store.journal import Journal


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / "journal.db")
        self.driver = LocalVolumes(root / "volumes")
        executor = Executor(self.journal)
        self.volumes = Volumes(self.journal, executor, {"local": self.driver}, Events(), root / "subpaths")
        executor.recover()
        self.volumes.reconcile()
        self.volumes.retirements.cleanup()

    def stop(self) -> None:
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def make(self, name: str) -> None:
        path = Path(self.volumes.create(name, "", {}, {"of": name}).mountpoint)
        (path / "note").write_text(f"note of {name}")

    def seed(self) -> None:
        (self.root / "rootfs" / "seed").mkdir(parents=True)
        for name in ("aa", "bb"):
            (self.root / "rootfs" / "seed" / name).write_text(name)

    def everything(self) -> dict[str, str]:
        """Where each volume's note is, by the volume's label: its name, or "retired"."""
        live = {volume.name: volume for volume in self.volumes.list_volumes({})[0]}
        found = {}
        for name, volume in live.items():
            assert not volume.problem
            assert Path(volume.mountpoint) == self.root / "volumes" / name / "_data"
            if volume.labels and (Path(volume.mountpoint) / "note").exists():
                assert (Path(volume.mountpoint) / "note").read_text() == f"note of {volume.labels['of']}"
            found[(volume.labels or {}).get("of", name)] = name
        for retired in self.volumes.list_retired():
            label = (retired.volume.labels or {})["of"]
            assert label not in found, "a volume is in one place only"
            note = self.root / "volumes" / ".retired" / retired.id / "_data" / "note"
            assert note.read_text() == f"note of {label}"
            found[label] = "retired"
        return found

    def is_tidy(self) -> bool:
        top = self.root / "volumes"
        on_disk = {path.name for path in top.iterdir() if not path.name.startswith(".")}
        left = [*(top / ".staging").iterdir(), *(top / ".purging").iterdir()]
        volumes = self.volumes.list_volumes({})[0]
        return not left and on_disk == {volume.name for volume in volumes} and all(map(self.is_told, volumes))

    def is_told(self, volume: Volume) -> bool:
        """Whether the record beside the data says what the journal says."""
        beside = msgspec.json.decode(self.driver.metadata(volume.name), type=Volume)
        return replace(beside, mountpoint="", problem="") == replace(volume, mountpoint="", problem="")


def prepare_nothing(world: World) -> None:
    pass


def prepare_live(world: World) -> None:
    for name in ("one", "two"):
        world.make(name)


def prepare_retired(world: World) -> None:
    prepare_live(world)
    world.volumes.remove("one")


def prepare_seed(world: World) -> None:
    world.seed()
    world.volumes.create("one", "", None, None)


def prepare_shared_seed(world: World) -> None:
    prepare_seed(world)
    for holder in ("a" * 64, "b" * 64):
        world.volumes.hold("one", holder)


def populate(world: World) -> None:
    world.volumes.populate("one", world.root / "rootfs", "/seed")


def rename(world: World) -> None:
    if world.volumes.get("one").name == "one":
        world.volumes.rename("one", "uno")


def prepare_renamed(world: World) -> None:
    prepare_live(world)
    rename(world)


def let_go(world: World) -> None:
    if world.volumes.get("uno").aliases:
        world.volumes.remove("one")


def update(world: World) -> None:
    world.volumes.update("one", {"of": "one", "now": "changed"}, {"mode": "0700"})


def copy(world: World) -> None:
    if "dup" not in [volume.name for volume in world.volumes.list_volumes({})[0]]:
        world.volumes.copies.copy("one", "dup", Changes(without_labels=("of",)))
    assert (world.root / "volumes/dup/_data/note").read_text() == "note of one"


Act = Callable[[World], object]
OPERATIONS: dict[str, tuple[Act, Act, list[dict[str, str]]]] = {
    "create": (
        prepare_nothing,
        lambda world: world.volumes.create("one", "", None, {"of": "one"}),
        [{}, {"one": "one"}],
    ),
    "remove": (
        prepare_live,
        lambda world: world.volumes.remove("one"),
        [{"one": "one", "two": "two"}, {"one": "retired", "two": "two"}],
    ),
    "prune": (
        prepare_live,
        lambda world: world.volumes.prune({}, include_named=True),
        [{"one": one, "two": two} for one in ("one", "retired") for two in ("two", "retired")],
    ),
    "restore": (
        prepare_retired,
        lambda world: world.volumes.restore("one", "again"),
        [{"one": "retired", "two": "two"}, {"one": "again", "two": "two"}],
    ),
    "purge": (
        prepare_retired,
        lambda world: world.volumes.purge("one"),
        [{"one": "retired", "two": "two"}, {"two": "two"}],
    ),
    "rename": (prepare_live, rename, [{"one": "one", "two": "two"}, {"one": "uno", "two": "two"}]),
    "let go of an alias": (prepare_renamed, let_go, [{"one": "uno", "two": "two"}]),
    "update": (prepare_live, update, [{"one": "one", "two": "two"}]),
    "copy": (prepare_live, copy, [{"one": "one", "two": "two"}, {"one": "one", "two": "two", "dup": "dup"}]),
    "populate": (prepare_seed, populate, [{"one": "one"}]),
    "populate shared": (prepare_shared_seed, populate, [{"one": "one"}]),
}


def points_of(root: Path, prepare: Act, act: Act, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    world = World(root)
    prepare(world)
    log = root / "points"
    log.touch()
    with monkeypatch.context() as patched:
        patched.setattr(faults, "_LOG", str(log))
        act(world)
    world.stop()
    return list(dict.fromkeys(log.read_text().split()))


def kill_at(root: Path, point: str, prepare: Act, act: Act) -> None:
    child = os.fork()
    if child == 0:
        try:
            world = World(root)
            prepare(world)
            faults._FAULT = f"{point}=kill"
            act(world)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, f"{point} was survived"


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_step_it_happened_or_it_did_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, act, allowed = OPERATIONS[name]
    (tmp_path / "whole").mkdir()
    points = points_of(tmp_path / "whole", prepare, act, monkeypatch)
    assert len(points) >= 3
    for number, point in enumerate(points):
        root = tmp_path / str(number)
        root.mkdir()
        kill_at(root, point, prepare, act)
        world = World(root)
        assert world.everything() in allowed, point
        assert world.is_tidy(), point
        if name.startswith("populate"):
            seen = sorted(path.name for path in (root / "volumes" / "one" / "_data").iterdir())
            assert seen in ([], ["aa", "bb"]), point
        try:
            act(world)
        except NotFound:
            assert name in ("remove", "restore", "purge"), f"{point}: it had happened"
        assert world.everything() in allowed[1:] or len(allowed) == 1, point
        world.stop()
