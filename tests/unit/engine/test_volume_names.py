"""Names, aliases, holds and removals in any order, held against a model that is a few dictionaries."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orlop.errors import Conflict, Malformed, NoSuchVolume, NotFound
from support.volume_house import VolumeHouse

NAMES = st.sampled_from(["ant", "bee", "cat", "dog"])
CONTAINERS = st.sampled_from([letter * 64 for letter in "12"])


class Names(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="orlop-names-"))
        self.house = VolumeHouse(self.root)
        self.written: dict[str, str] = {}  # by id, the note in it
        self.names: dict[str, str] = {}  # every name, to the id
        self.real: dict[str, str] = {}  # by id
        self.holds: set[tuple[str, str]] = set()
        self.retired: dict[str, tuple[str, list[str]]] = {}  # name and aliases by id, oldest first

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.stop()
            shutil.rmtree(self.root)

    def aliases(self, volume_id: str) -> list[str]:
        return [name for name, owner in self.names.items() if owner == volume_id and name != self.real[volume_id]]

    def holders(self, volume_id: str) -> set[str]:
        return {holder for name, holder in self.holds if self.names.get(name) == volume_id}

    @rule(name=NAMES, container=st.one_of(st.just(""), CONTAINERS))
    def create(self, name: str, container: str) -> None:
        volume = self.house.volumes.create(name, "", None, None, container)
        if name not in self.names:
            self.names[name], self.real[volume.id] = volume.id, name
            self.written[volume.id] = volume.id
            (self.house.data(name) / "note").write_text(volume.id)
        assert volume.id == self.names[name]
        if container:
            self.holds.add((name, container))

    @rule(name=NAMES, container=CONTAINERS)
    def release(self, name: str, container: str) -> None:
        self.house.volumes.release(name, container)
        self.holds.discard((name, container))

    @rule(name=NAMES, new_name=NAMES, keep_alias=st.booleans())
    def rename(self, name: str, new_name: str, keep_alias: bool) -> None:
        owner = self.names.get(name)
        if owner is None:
            with pytest.raises(NoSuchVolume):
                self.house.volumes.rename(name, new_name, keep_alias)
            return
        old = self.real[owner]
        needed = not keep_alias and any(held == old for held, _ in self.holds)
        if new_name == old:
            with pytest.raises(Malformed):
                self.house.volumes.rename(name, new_name, keep_alias)
        elif self.names.get(new_name, owner) != owner or needed:
            with pytest.raises(Conflict):
                self.house.volumes.rename(name, new_name, keep_alias)
        else:
            self.house.volumes.rename(name, new_name, keep_alias)
            self.names[new_name], self.real[owner] = owner, new_name
            if not keep_alias:
                del self.names[old]

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        owner = self.names.get(name)
        if owner is None:
            with pytest.raises(NoSuchVolume):
                self.house.volumes.remove(name)
        elif name != self.real[owner]:
            if any(held == name for held, _ in self.holds):
                with pytest.raises(Conflict):
                    self.house.volumes.remove(name)
            else:
                self.house.volumes.remove(name)
                del self.names[name]
        elif self.holders(owner):
            with pytest.raises(Conflict):
                self.house.volumes.remove(name)
        else:
            self.house.volumes.remove(name)
            self.house.now += 1
            self.retired[owner] = name, self.aliases(owner)
            del self.real[owner]
            self.names = {known: volume for known, volume in self.names.items() if volume != owner}

    @rule(name=NAMES, new_name=st.one_of(st.just(""), NAMES))
    def restore(self, name: str, new_name: str) -> None:
        found = [volume_id for volume_id, (was, _) in self.retired.items() if was == name]
        wanted = new_name or name
        if not found:
            with pytest.raises(NotFound):
                self.house.volumes.restore(name, new_name)
        elif wanted in self.names:
            with pytest.raises(Conflict):
                self.house.volumes.restore(name, new_name)
        else:
            assert self.house.volumes.restore(name, new_name).id == found[-1]
            _, aliases = self.retired.pop(found[-1])
            self.names[wanted], self.real[found[-1]] = found[-1], wanted
            for alias in aliases:
                self.names.setdefault(alias, found[-1])

    @rule()
    def prune(self) -> None:
        gone = [volume_id for volume_id in self.real if not self.holders(volume_id)]
        report = self.house.volumes.prune({}, include_named=True)
        assert sorted(report.removed) == sorted(self.real[volume_id] for volume_id in gone)
        for name, volume_id in sorted((self.real[volume_id], volume_id) for volume_id in gone):
            self.retired[volume_id] = name, self.aliases(volume_id)
        for volume_id in gone:
            del self.real[volume_id]
        self.names = {name: volume for name, volume in self.names.items() if volume not in gone}
        self.house.now += 1

    @rule()
    def restart(self) -> None:
        self.house.restart()
        assert self.house.reports == []

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if not hasattr(self, "house"):
            return
        assert self.house.names() == sorted(self.real.values())
        assert {path.name for path in (self.root / "volumes").iterdir() if path.name[0] != "."} == set(
            self.house.names()
        )
        for name, owner in self.names.items():
            volume = self.house.volumes.get(name)
            assert (volume.id, volume.name) == (owner, self.real[owner])
            assert sorted(volume.aliases) == sorted(self.aliases(owner))
            assert set(self.house.volumes.holders(name)) == self.holders(owner)
            assert (self.house.data(volume.name) / "note").read_text() == self.written[owner]
        assert {retired.id for retired in self.house.volumes.list_retired()} == set(self.retired)


TestNames = Names.TestCase
TestNames.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
