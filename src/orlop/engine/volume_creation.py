"""Making volumes, and taking in those that are there and were not known: left by other engines, made by somebody else's
driver, or by another host of the cluster.

A volume for the cluster is published first, and then made here: should that be cut off, it is one that this host takes
in when somebody means it, as on every other host.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from orlop.drivers.volumes.abilities import Independent, scope_of
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.retirement import Retirements
from orlop.engine.settling import Settler
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_options import check_options
from orlop.engine.volume_others import OthersVolumes, find_stored, no_such_driver
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes, coming_elsewhere, unusable, view
from orlop.engine.volume_steps import VolumeSteps, render_record
from orlop.engine.volume_survey import describe, survey_volume
from orlop.errors import Conflict, OrlopError
from orlop.model.volume import ANONYMOUS_LABEL, DEFAULT_DRIVER, Volume, VolumeUse
from orlop.planning import volumes as plans
from orlop.store.journal import Change, Journal, Put

log = logging.getLogger(__name__)

Words = Mapping[str, str] | None


class VolumeCreation:
    """Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        drivers: Mapping[str, VolumeDriver],
        events: Events,
        clock: Callable[[], int],
        records: VolumeRecords,
        locks: VolumeLocks,
        settler: Settler,
        steps: VolumeSteps,
        others: OthersVolumes,
        shared: SharedVolumes,
        retirements: Retirements,
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._records = records
        self._locks = locks
        self._settler = settler
        self._steps = steps
        self._others = others
        self._shared = shared
        self._retirements = retirements

    def create(self, name: str, driver: str, options: Words, labels: Words, container_id: str = "") -> Volume:
        """See Volumes.create."""
        named = bool(name)
        if not named:
            name = secrets.token_hex(32)
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        driver = driver.removesuffix(":latest")
        self._bring_back(name)
        with self._records.redactor.hiding(options), self._locks.hold([name]):
            existing = self._records.find(name)
            if existing is not None and not self._others.is_there(existing):
                self._others.forget(existing, "its driver says that it is gone")
                existing = None
            existing = existing or self._met_in_cluster(name, driver, options)
            if existing is not None:
                found = self._found(name, existing, driver, options, labels)
                if container_id:
                    self._shared.begin_use(found, container_id)
                    self._records.hold([name], container_id)
                return found
            if why := self._records.gates.why_reserved(name):
                raise Conflict(f"create {name}", why, "Choose another name")
            if container_id and named:
                self._records.gates.check_made_by_the_way(name)
            volume = self._make_or_take_in(name, named, driver, options, labels, container_id)
            if not container_id and (replaced := self._records.gates.replace(name)):
                self._journal.commit(*(Put("departures", each.volume.id, each) for each in replaced))
        self._events.publish("volume", "create", name, {"driver": volume.driver})
        return volume

    def _make_or_take_in(
        self, name: str, named: bool, driver: str, options: Words, labels: Words, container_id: str
    ) -> Volume:
        maker, stored = (self._others.find(name) if named and not driver else None) or (None, None)
        if maker is None:
            maker = self._driver(f"create {name}", driver or DEFAULT_DRIVER)
            self._check(name, maker, options or {})
            stored = find_stored(maker, name)
        use = VolumeUse(name, container_id, made_for=stored is None) if container_id else None
        holds = [self._records.hold_change(use)] if use else []
        if stored is not None:
            volume = self._take_in(stored, maker, options, labels, holds)
        else:
            scope = scope_of(maker, options)
            volume = Volume(name, secrets.token_hex(32), maker.name, self._clock(), "", labels, options, scope)
            if named and self._shared.concerns(maker, options):
                volume = self._make_for_all(volume, container_id, holds)
            else:
                volume = self._make(volume, holds)
        self._records.remember(volume)
        if use:
            self._records.note_hold(use)
            self._settler.hurry()  # it will be attached in a moment
        return volume

    def check(self, name: str, driver: str, options: Mapping[str, str]) -> None:
        """Raises Malformed and the like when a volume with these could never be made."""
        self._check(name, self._driver(f"create {name}", driver), options)

    def _check(self, name: str, driver: VolumeDriver, options: Mapping[str, str]) -> None:
        if self._shared.concerns(driver, options):
            options = self._shared.check(f"create {name}", driver, options)
        check_options(name, driver, options)

    def _found(self, name: str, existing: Volume, driver: str, options: Words, labels: Words) -> Volume:
        self._shared.refuse_other(existing, driver, options)
        if driver and driver != existing.driver.removesuffix(":latest"):
            why = f"driver '{existing.driver}' already has volume '{name}': volume name must be unique"
            raise Conflict(f"create {name}", why)
        if (options and options != existing.options) or (labels and labels != existing.labels):
            log.warning("volume %s exists already: the options and labels asked for now are not applied", name)
        self._records.note_wanted(name)
        return existing

    def _make(self, volume: Volume, holds: Sequence[Change]) -> Volume:
        plan = plans.plan_create(volume.name, volume.driver, render_record(volume))

        def outcome() -> list[Change]:
            nonlocal volume
            volume = replace(volume, mountpoint=self._steps.take_stored(volume.name).mountpoint)
            return [Put("volumes", volume.name, volume), *holds]

        self._executor.run(plan, outcome)
        return volume

    # In a cluster

    def _make_for_all(self, wish: Volume, container_id: str, holds: Sequence[Change]) -> Volume:
        volume = self._shared.publish(wish)
        try:
            if container_id:
                self._shared.begin_use(volume, container_id)
            return self._make(volume, holds)
        except BaseException:
            if container_id:
                self._shared.end_use(volume, container_id)
            if volume.id == wish.id:
                self._take_back(volume)
            raise

    def _take_back(self, volume: Volume) -> None:
        try:
            self._shared.withdraw(volume)
        except OrlopError as error:
            log.warning("volume %s stays in the cluster, though it was not made here: %s", volume.name, error)

    def _met_in_cluster(self, name: str, driver: str = "", options: Words = None) -> Volume | None:
        """A volume that others made, taken in. The caller holds its lock."""
        found = self._shared.find(name)
        if found is None:
            return None
        if found.coming:
            raise coming_elsewhere(found)
        volume = view(found)
        self._shared.refuse_other(volume, driver, options)
        try:
            made = self._drivers.get(found.driver)
            if made is None:
                raise no_such_driver("", found.driver, tuple(self._drivers))
            stored = made.find(name) if isinstance(made, Independent) else None
            if stored is None:
                volume = self._make(volume, ())
            else:
                volume = replace(volume, mountpoint=stored.mountpoint)
                self._journal.commit(Put("volumes", name, volume))
        except OrlopError as error:
            raise unusable(name, error) from error
        self._records.remember(volume)
        return volume

    def _bring_back(self, name: str) -> None:
        """One that was removed, here or elsewhere, and is in the cluster again: with what this host kept of it."""
        found = self._shared.find(name)
        if found is None or found.coming or self._records.find(name) is not None:
            return
        if any(retired.id == found.id for retired in self._records.retired()):
            try:
                self._retirements.restore(found.id)
            except OrlopError as error:
                raise unusable(name, error) from error

    # Found

    def meet(self, name: str) -> Volume:
        """See Volumes.meet."""
        if name and self._records.find(name) is None:
            self._bring_back(name)
            if self._shared.find(name) is not None:
                with self._locks.hold([name]):
                    if self._records.find(name) is None:
                        self._met_in_cluster(name)
            elif self._others.are_there:
                self._meet_others(name)
        return self._records.get(name)

    def _meet_others(self, name: str) -> None:
        with self._locks.hold([name]):
            met = None if self._records.find(name) else self._others.find(name)
            if met is not None:
                volume = self._take_in(met[1], met[0], None, None, ())
                self._records.remember(volume)

    def _take_in(
        self, stored: StoredVolume, driver: VolumeDriver, options: Words, labels: Words, holds: Sequence[Change]
    ) -> Volume:
        """Made by hand, or left by another engine: taken as it is, so nothing of it is lost or hidden."""
        surveyed = survey_volume(driver, stored)
        volume = replace(surveyed.volume, aliases=(), problem="")
        if labels is not None:
            volume = replace(volume, labels=labels)
        if isinstance(driver, Independent):  # it does not say with which options it was made: these are its record
            volume = replace(volume, options=options, created_at_ns=stored.created_at_ns or self._clock())
        is_told = surveyed.is_recorded and volume == surveyed.volume
        for remark in (*surveyed.remarks, *(() if is_told else describe(driver, volume))):
            log.warning("volume %s: %s", stored.name, remark)
        self._journal.commit(Put("volumes", volume.name, volume), *holds)
        return replace(volume, problem=stored.problem)

    def _driver(self, subject: str, driver: str) -> VolumeDriver:
        found = self._drivers.get(driver)
        if found is None:
            raise no_such_driver(subject, driver, tuple(self._drivers))
        return found
