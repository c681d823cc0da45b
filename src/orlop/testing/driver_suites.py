"""The contract suites as test classes for one driver: one for each ability that it has."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orlop.drivers.volumes import abilities
from orlop.drivers.volumes.abilities import LastingUses, abilities_of
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.testing.driver_target import TRAITS, Target
from orlop.testing.volume_adoption import AdoptingContract
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract, RenamingContract
from orlop.testing.volume_filling import FillingContract
from orlop.testing.volume_fixtures import VolumeFixtures
from orlop.testing.volume_limits import LimitContract
from orlop.testing.volume_removal import RemovalContract
from orlop.testing.volumes import (
    RetirementContract,
    SelfDescribingContract,
    StagingContract,
    UsageContract,
    VolumeDriverContract,
)

# What a suite needs besides its own ability: it puts volumes away, or measures them.
SUITES: Sequence[tuple[type, type[VolumeFixtures], tuple[type, ...]]] = (
    (abilities.Removal, RemovalContract, ()),
    (abilities.Retirement, RetirementContract, ()),
    (abilities.LastingUses, LastingUsesContract, ()),
    (abilities.SelfDescribing, SelfDescribingContract, (abilities.Retirement,)),
    (abilities.Usage, UsageContract, ()),
    (abilities.Changing, ChangingContract, ()),
    (abilities.Renaming, RenamingContract, ()),
    (abilities.Limited, LimitContract, (abilities.Changing, abilities.Retirement, abilities.Usage)),
    (abilities.Staging, StagingContract, ()),
    (abilities.Filling, FillingContract, ()),
    (abilities.Adopting, AdoptingContract, ()),
)


def suites_for(driver: VolumeDriver) -> dict[str, type[VolumeFixtures]]:
    """By the ability's name; "VolumeDriver" is what all have."""
    abilities = abilities_of(driver)
    found: dict[str, type[VolumeFixtures]] = {"VolumeDriver": VolumeDriverContract}
    for ability, suite, needed in SUITES:
        if ability in abilities and all(each in abilities for each in needed):
            found[ability.__name__] = suite
    return found


def test_classes(target: Target, suites: dict[str, type[VolumeFixtures]]) -> dict[str, type]:
    """By the names that pytest collects."""
    traits = {TRAITS[trait]: False for trait in target.traits}
    sizes = {
        field: target.options_of("data") | {"size": size}
        for field, size in (("limited", "16m"), ("larger", "32m"), ("smaller", "8m"))
    }
    return {
        f"Test{name}": type(f"Test{name}", (_Scene, suite), {"target": target, **traits, **sizes})
        for name, suite in suites.items()
    }


class _Scene(VolumeFixtures):
    """A driver on roots of its own for each test; afterwards nothing of it is mounted."""

    target: Target

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.place = tmp_path
        self.opened: list[VolumeDriver] = []
        yield self.another()
        for entry in reversed(mounts_at_or_below(tmp_path)):
            unmount(entry.mount_point, MNT_DETACH)
        last = self.another()
        if isinstance(last, LastingUses):
            last.detach_others(())
        for one in self.opened:
            close = getattr(one, "close", None)
            if callable(close):
                close()

    def another(self) -> VolumeDriver:
        self.opened.append(self.target.open(self.place))
        return self.opened[-1]

    def options_of(self, name: str) -> dict[str, str]:
        return self.target.options_of(name)

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()
