"""Removed volumes: undoable until their grace ends, and the one way to their end."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from orlop.drivers.volumes.abilities import Retirement
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_steps import VolumeSteps, render_record
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.model.volume import PROTECT_LABEL, RetiredVolume, RetirementPolicy, Volume
from orlop.planning import volumes as plans
from orlop.store.journal import Change, Drop, Put

log = logging.getLogger(__name__)

SOON_NS = 60_000_000_000
BATCH = 1000  # volumes in one plan: a mark is one row of the journal


class Retirements:
    """Retire, restore, purge. Callers of `retire` hold the names' locks."""

    def __init__(
        self,
        executor: Executor,
        records: VolumeRecords,
        steps: VolumeSteps,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        policy: RetirementPolicy,
        shared: SharedVolumes,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._shared = shared
        self._executor = executor
        self._records = records
        self._steps = steps
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._clock = clock
        self.policy = policy
        self.wake: Callable[[], None] = lambda: None  # told that something was retired; the reaper puts itself here
        self.ended: Callable[[str], None] = lambda volume_id: None  # told of what can never come back

    def retire(self, volumes: Sequence[Volume], reason: str) -> dict[str, OrlopError | OSError]:
        """All of one driver. Returns those that stay, with the reason."""
        now = self._clock()
        well = [replace(volume, problem="") if volume.problem else volume for volume in volumes]
        retired = [RetiredVolume(each.id, each, now, self.policy.purge_at_ns(each, now), reason) for each in well]
        driver = volumes[0].driver
        removals = [(found.volume.name, found.id, render_record(found)) for found in retired]
        plan = plans.plan_remove(removals, driver, reason)
        try:
            self._executor.run(plan, outcome=lambda: self._steps.removal_outcome(retired))
        except BaseException:
            # The intent is finished at the next start. Until then memory must say what the disk says.
            self._note([found for found in retired if self._is_retired(found)])
            raise
        refused: dict[str, OrlopError | OSError] = {}
        for found in retired:
            error = self._steps.take_refusal(found.volume.name)
            if error is not None:
                refused[found.volume.name] = error
        self._note([found for found in retired if found.volume.name not in refused])
        return refused

    def _note(self, retired: Sequence[RetiredVolume]) -> None:
        for found in retired:
            self._records.forget(found.volume.name)
            is_gone = self._steps.take_gone(found.id)
            if is_gone:
                self.ended(found.volume.id)
            else:
                self._records.remember_retired(found)
            self._events.publish("volume", "destroy", found.volume.name, {"driver": found.volume.driver})
            if not is_gone and found.purge_at_ns <= found.retired_at_ns:
                self._give_up_at_once(found)
        if any(found.purge_at_ns - found.retired_at_ns < SOON_NS for found in retired):
            self.wake()

    def take_in(self, found: RetiredVolume) -> None:
        """What was retired by somebody else, and stands in the journal."""
        self._records.remember_retired(found)
        if found.purge_at_ns - found.retired_at_ns < SOON_NS:
            self.wake()

    def _give_up_at_once(self, found: RetiredVolume) -> None:
        try:
            self.give_up(found, "it has no grace period")
        except (OrlopError, OSError) as error:
            log.warning("removed volume %s is kept until it can go: %s", found.volume.name, error)

    def _is_retired(self, found: RetiredVolume) -> bool:
        driver = self._drivers.get(found.volume.driver)
        try:
            return isinstance(driver, Retirement) and found.id in driver.list_retired()
        except (OrlopError, OSError):
            return False

    def all(self) -> Sequence[RetiredVolume]:
        return self._records.retired()

    def restore(self, reference: str, new_name: str = "") -> Volume:
        found = self._records.find_retired(reference)
        name = new_name or found.volume.name
        driver = self._drivers.get(found.volume.driver)
        if new_name and driver is not None:
            driver.check(name, found.volume.options or {})
        with self._locks.hold([name, *found.volume.aliases, f"retired/{found.id}"]):
            found = self._still_there(found)
            self._refuse_taken(name, reference)
            free = [alias for alias in found.volume.aliases if alias != name and self._records.find(alias) is None]
            volume = self._publish(replace(found.volume, name=name, aliases=tuple(free)))
            plan = plans.plan_restore(found.id, name, volume.driver, render_record(volume))

            def outcome() -> Sequence[Change]:
                nonlocal volume
                volume = replace(volume, mountpoint=self._steps.take_stored(name).mountpoint)
                return [Put("volumes", name, volume), Drop("retired", found.id)]

            self._executor.run(plan, outcome)
            self._records.forget_retired(found.id)
            self._records.remember(volume)
        self._events.publish("volume", "create", name, {"driver": volume.driver, "restored": found.id})
        return volume

    def _refuse_taken(self, name: str, reference: str) -> None:
        taken = self._records.find(name)
        if taken is not None:
            why = "a volume of that name exists"
            if taken.name != name:
                why = f"it is another name of the volume {taken.name}"
            hint = f"Give it another name: orlop volume restore {reference} --as NAME"
            raise Conflict(f"restore {name}", why, hint)

    def _publish(self, volume: Volume) -> Volume:
        """Again for all hosts, where it was before it was removed."""
        if not volume.is_shared:
            if why := self._records.elsewhere(volume.name):
                raise Conflict(f"restore {volume.name}", why, "Give it another name")
            return volume
        published = self._shared.publish(volume)
        if published.id != volume.id:
            why = "another volume of the cluster has that name"
            raise Conflict(f"restore {volume.name}", why, "Give it another name, or purge it")
        return replace(volume, labels=published.labels, options=published.options)

    def purge(self, reference: str, reason: str = "asked for") -> RetiredVolume:
        """Its bytes are gone when this returns, unless the reaper is just deleting them."""
        found = self.give_up(self._records.find_retired(reference), reason)
        self.cleanup()
        return found

    def give_up(self, found: RetiredVolume, reason: str) -> RetiredVolume:
        """Past this there is no restore. The bytes go with the next `cleanup`."""
        with self._locks.hold([f"retired/{found.id}"]):
            found = self._still_there(found)
            if found.volume.is_protected:  # labelled by another engine, or before the label meant anything
                why = f"volume is protected by its label {PROTECT_LABEL}"
                hint = f"Take it back (orlop volume restore {found.id[:12]}) and the label off"
                raise Conflict(f"purge {found.volume.name}", why, hint)
            plan = plans.plan_purge(found.id, found.volume.name, found.volume.driver, reason)
            self._executor.run(plan, outcome=lambda: self._steps.purge_outcome(plan))
            self._records.forget_retired(found.id)
        self.ended(found.volume.id)
        log.info("purged volume %s, retired as %s: %s", found.volume.name, found.id[:12], reason)
        return found

    def cleanup(self) -> None:
        """Delete the bytes of what was given up. Raises the first failure, after all were tried."""
        for driver in self._drivers.values():
            if isinstance(driver, Retirement):
                driver.cleanup()

    def _still_there(self, found: RetiredVolume) -> RetiredVolume:
        for retired in self._records.retired():
            if retired.id == found.id:
                return retired
        raise NotFound(f"retired volume {found.id[:12]}", "it was restored or purged meanwhile")
