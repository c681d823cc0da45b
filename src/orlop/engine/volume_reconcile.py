"""At start: what the journal remembers of volumes against what the drivers find.

known, and there                    in order
known, not there                    kept, with its problem; never made anew
known, and retired on the disk      retired (a removal that was cut off without its intent)
there, not known                    taken in, by the record beside its data where there is one
retired on the disk, not known      taken in as retired
retired in the journal only         forgotten: it was purged
a driver does not answer            everything of it stays as the journal has it; "unknown" is not "absent"

Where there are very many, the start goes by their names, and what is wrong with one of them is found a moment later
(`look_closely`); whoever attaches it looks in any case.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from orlop.drivers.volumes.abilities import Glancing, Independent, Retirement
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_survey import describe, describe_retired, survey_retired, survey_volume
from orlop.errors import OrlopError
from orlop.model.volume import RetirementPolicy, Volume
from orlop.store.journal import Change, Drop, Journal, Put

MANY = 500  # volumes of one driver, from which on the start does not look at each
_AT_A_TIME = 100


class Reconciliation:
    def __init__(
        self,
        journal: Journal,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        policy: RetirementPolicy,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._journal = journal
        self._records = records
        self._drivers = drivers
        self._policy = policy
        self._clock = clock
        self._glanced_at: list[tuple[Glancing, list[str]]] = []

    def run(self) -> list[str]:
        """What was found and done, in words."""
        reports: list[str] = []
        by_driver: dict[str, list[Volume]] = defaultdict(list)
        for volume in self._records.all():
            by_driver[volume.driver].append(volume)
        for name, driver in self._drivers.items():
            if isinstance(driver, Independent):
                continue  # nobody waits for it at the start: engine.volume_others looks, a moment later
            mine = by_driver[name]
            try:
                glanced_at, stored = self._found(driver, mine)
                retired = set(driver.list_retired()) if isinstance(driver, Retirement) else set()
            except (OrlopError, OSError) as error:
                reports.append(f"volume driver {name} does not answer: {error}")
                for volume in mine:
                    self._records.mark(volume.name, f"its driver does not answer: {error}")
                continue
            changes: list[Change] = []
            changes += self._known(mine, glanced_at, stored, retired, reports)
            changes += self._unknown(name, driver, stored, reports)
            changes += self._retired_ones(name, driver, retired, reports)
            if changes:
                self._journal.commit(*changes)
        for name, volumes in by_driver.items():
            if volumes and name not in self._drivers:
                for volume in volumes:
                    self._records.mark(volume.name, f"its driver {name} is not there")
        return reports

    def look_closely(self) -> list[str]:
        """At those that the start took at their name. What is wrong, in words."""
        reports = []
        while self._glanced_at:
            driver, names = self._glanced_at.pop()
            for begin in range(0, len(names), _AT_A_TIME):
                some = names[begin : begin + _AT_A_TIME]
                found = {stored.name: stored.problem for stored in driver.look(some)}
                for name in some:
                    volume = self._records.find(name)
                    if volume is None or volume.name != name:
                        continue  # removed or renamed meanwhile
                    problem = found.get(name, f"its data directory {volume.mountpoint} is missing")
                    self._records.mark(name, problem)
                    if problem:
                        reports.append(f"volume {name}: {problem}")
        return reports

    def _found(self, driver: VolumeDriver, mine: Sequence[Volume]) -> tuple[set[str], dict[str, StoredVolume]]:
        """Names of those that are taken for what the journal says of them, and what the driver says of the others."""
        if len(mine) >= MANY and isinstance(driver, Glancing):
            known = {volume.name: volume for volume in mine}
            there = set(driver.names())
            glanced_at = there & known.keys()
            sample = driver.look(sorted(glanced_at)[:1])
            if sample and sample[0].mountpoint == known[sample[0].name].mountpoint:  # or the data root was moved
                self._glanced_at.append((driver, sorted(glanced_at)))
                return glanced_at, {found.name: found for found in driver.look(sorted(there - glanced_at))}
        return set(), {found.name: found for found in driver.list_volumes()}

    def _known(
        self,
        mine: Sequence[Volume],
        glanced_at: set[str],
        stored: Mapping[str, StoredVolume],
        retired: set[str],
        reports: list[str],
    ) -> list[Change]:
        changes: list[Change] = []
        for volume in mine:
            if volume.name in glanced_at:
                if volume.problem:
                    self._records.mark(volume.name, "")
                continue
            found = stored.get(volume.name)
            if found is not None:
                if found.mountpoint != volume.mountpoint:  # the data root was moved
                    moved = replace(volume, mountpoint=found.mountpoint, problem="")
                    self._records.remember(moved)
                    changes.append(Put("volumes", volume.name, moved))
                if found.problem or volume.problem:
                    self._records.mark(volume.name, found.problem)
                if found.problem:
                    reports.append(f"volume {volume.name}: {found.problem}")
            elif volume.id in retired:
                self._records.forget(volume.name)
                changes.append(Drop("volumes", volume.name))
                reports.append(f"volume {volume.name} turned out to be retired")
            else:
                problem = f"its data directory {volume.mountpoint} is missing"
                self._records.mark(volume.name, problem)
                reports.append(f"volume {volume.name}: {problem}")
        return changes

    def _unknown(
        self, name: str, driver: VolumeDriver, stored: Mapping[str, StoredVolume], reports: list[str]
    ) -> list[Change]:
        changes: list[Change] = []
        ids: set[str] = set()  # of all volumes, once there is one that is not known
        for found in stored.values():
            known = self._records.find(found.name)
            if known is not None:
                if known.name != found.name:
                    # Containers mean the other volume by this name, and must never get this one's data.
                    reports.append(f"left {found.name} of {name} alone: volume {known.name} is known by that name")
                continue
            surveyed = survey_volume(driver, found)
            volume, remarks, is_recorded = surveyed.volume, surveyed.remarks, surveyed.is_recorded
            ids = ids or {each.id for each in self._records.all()}
            if volume.id in ids:
                volume, is_recorded = replace(volume, id=secrets.token_hex(32)), False
                remarks = (*remarks, "another volume has the id of its record: it gets one of its own")
            ids.add(volume.id)
            free = self._free(volume.aliases, stored)
            if free != volume.aliases:
                volume, is_recorded = replace(volume, aliases=free), False
            if not is_recorded:
                remarks = (*remarks, *describe(driver, volume))
            self._records.remember(volume)
            self._records.mark(volume.name, found.problem)
            changes.append(Put("volumes", volume.name, volume))
            reports.append(f"took in volume {found.name}, which {name} has and the journal did not know")
            reports += [f"volume {found.name}: {remark}" for remark in remarks]
        return changes

    def _free(self, aliases: Sequence[str], stored: Mapping[str, StoredVolume]) -> tuple[str, ...]:
        return tuple(alias for alias in aliases if alias not in stored and self._records.find(alias) is None)

    def _retired_ones(self, name: str, driver: VolumeDriver, retired: set[str], reports: list[str]) -> list[Change]:
        changes: list[Change] = []
        known = {found.id for found in self._records.retired() if found.volume.driver == name}
        for retired_id in sorted(known - retired):
            self._records.forget_retired(retired_id)
            changes.append(Drop("retired", retired_id))
            reports.append(f"retired volume {retired_id[:12]} is no longer there")
        for retired_id in sorted(retired - known):
            surveyed = survey_retired(driver, retired_id, self._policy, self._clock())
            found = surveyed.retired
            self._records.remember_retired(found)
            changes.append(Put("retired", retired_id, found))
            reports.append(f"took in retired volume {found.volume.name} ({retired_id[:12]})")
            remarks = (
                surveyed.remarks if surveyed.is_recorded else (*surveyed.remarks, *describe_retired(driver, found))
            )
            reports += [f"retired volume {found.volume.name}: {remark}" for remark in remarks]
        return changes
