"""Facts of volumes: when they are noted, how long a figure holds, with what they end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Measurement
from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volumes import Volumes
from orlop.model.mount import Mount, MountKind
from orlop.model.volume import VolumeFacts
from orlop.store.journal import Journal, Put

CONTAINER = "c" * 64
SECOND = 1_000_000_000
FOUND = Measurement(10, 4096, 1, 5 * SECOND)


class Engine:
    """Volumes on a disk of their own; `restart` is another daemon on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1_700_000_000 * SECOND
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.root / "journal.db")
        executor = Executor(self.journal)
        self.driver = LocalVolumes(self.root / "volumes")
        self.volumes = Volumes(
            *(self.journal, executor, {"local": self.driver}, Events(), self.root / "subpaths"),
            clock=lambda: self.now,
            describe_container=lambda container_id: "app",
        )
        executor.recover()
        self.volumes.reconcile()

    def stop(self) -> None:
        self.volumes.close()
        self.journal.close()
        self.driver.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def make(self) -> str:
        return self.volumes.create("data", "", None, None).id

    @property
    def mount(self) -> Mount:
        return Mount(MountKind.VOLUME, "/data", str(self.root), volume="data", driver="local")

    @property
    def facts(self) -> FactRecords:
        return self.volumes.facts


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.stop()


def test_use_by_a_container_is_noted_and_kept(engine: Engine) -> None:
    identifier = engine.make()
    engine.volumes.attach(engine.mount, CONTAINER)
    mounted_at = engine.now
    engine.now += SECOND
    engine.volumes.detach(engine.mount, CONTAINER)
    engine.restart()
    assert engine.facts.find(identifier) == VolumeFacts(
        last_mounted_at_ns=mounted_at,
        last_unmounted_at_ns=engine.now,
        last_container="app",
        last_container_id=CONTAINER,
    )


def test_a_copy_is_no_use_but_makes_the_figure_old(engine: Engine) -> None:
    identifier = engine.make()
    engine.facts.measured(identifier, FOUND, engine.now)
    assert engine.facts.is_current(identifier, in_use=False)
    engine.now += SECOND
    engine.volumes.attach(engine.mount, CONTAINER, "cp")
    engine.volumes.detach(engine.mount, CONTAINER, "cp")
    assert engine.facts.find(identifier).last_container == ""
    assert not engine.facts.is_current(identifier, in_use=False)


def test_a_figure_holds_until_the_next_use_or_for_a_minute_of_use(engine: Engine) -> None:
    identifier, facts = engine.make(), engine.facts
    assert not facts.is_current(identifier, in_use=False)
    facts.measured(identifier, FOUND, engine.now)
    engine.now += 3600 * SECOND
    assert facts.is_current(identifier, in_use=False)
    facts.mounted(identifier, CONTAINER)
    facts.measured(identifier, FOUND, engine.now)
    assert facts.is_current(identifier, in_use=True)
    engine.now += 61 * SECOND
    assert not facts.is_current(identifier, in_use=True)
    facts.unmounted(identifier)
    assert not facts.is_current(identifier, in_use=False)


def test_what_was_in_use_when_the_daemon_ended_is_counted_anew(engine: Engine) -> None:
    identifier = engine.make()
    engine.volumes.attach(engine.mount, CONTAINER)
    engine.facts.measured(identifier, FOUND, engine.now)
    engine.now += SECOND
    engine.restart()
    assert not engine.facts.is_current(identifier, in_use=False)
    engine.facts.measured(identifier, FOUND, engine.now)
    assert engine.facts.is_current(identifier, in_use=False)


def test_a_count_that_cannot_tell_the_last_write_keeps_what_is_known(engine: Engine) -> None:
    facts = engine.facts
    facts.measured("v", FOUND, engine.now)
    facts.measured("v", Measurement(20, 20, -1, 0), engine.now)
    assert (facts.find("v").size_bytes, facts.find("v").last_write_ns) == (20, 5 * SECOND)


def test_facts_survive_removal_and_end_with_the_purge(engine: Engine) -> None:
    identifier = engine.make()
    engine.facts.measured(identifier, FOUND, engine.now)
    engine.volumes.remove("data")
    engine.restart()
    assert engine.facts.find(identifier).size_bytes == 10
    engine.volumes.restore("data")
    assert engine.volumes.get("data").id == identifier
    engine.volumes.remove("data")
    engine.volumes.purge("data")
    assert engine.facts.find(identifier) == VolumeFacts()
    engine.restart()
    assert engine.journal.load("facts", VolumeFacts) == {}


def test_facts_of_what_is_not_there_any_more_go_at_the_start(engine: Engine) -> None:
    engine.facts.measured("f" * 64, FOUND, engine.now)
    engine.restart()
    engine.restart()
    assert engine.journal.load("facts", VolumeFacts) == {}


def test_a_fact_that_cannot_be_read_stops_no_start(engine: Engine) -> None:
    engine.journal.commit(Put("facts", "f" * 64, ["no", "fact"]))
    engine.restart()
    assert engine.facts.find("f" * 64) == VolumeFacts()
