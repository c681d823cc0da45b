"""Which volumes may be removed, one by one or all that nobody holds. How they go is in engine.retirement."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from orlop.engine.events import Events
from orlop.engine.retirement import BATCH, Retirements
from orlop.engine.volume_changes import VolumeChanges
from orlop.engine.volume_filters import prune_filter
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_others import OthersVolumes
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes, view
from orlop.errors import Conflict, HostFailure, NoSuchVolume, Unavailable
from orlop.model.filters import Filters
from orlop.model.volume import PROTECT_LABEL, PruneReport, Volume, VolumeUse

log = logging.getLogger(__name__)


class VolumeRemoval:
    """`describe` names containers for people; `usage_bytes` is -1 where it cannot be told."""

    def __init__(
        self,
        records: VolumeRecords,
        locks: VolumeLocks,
        retirements: Retirements,
        changes: VolumeChanges,
        events: Events,
        usage_bytes: Callable[[str], int],
        describe: Callable[[Sequence[str]], str],
        others: OthersVolumes,
        shared: SharedVolumes,
    ) -> None:
        self._shared = shared
        self._records = records
        self._locks = locks
        self._retirements = retirements
        self._changes = changes
        self._events = events
        self._usage_bytes = usage_bytes
        self._describe = describe
        self._others = others
        self._pruning = threading.Lock()

    def remove(self, name: str, force: bool = False, reason: str = "volume rm") -> None:
        with self._records.redactor.hiding(), self._locks.hold([name]):
            volume = self._records.find(name)
            if volume is None:
                if force:
                    return
                raise NoSuchVolume(name)
            if volume.name != name:
                self._changes.let_go(name)
                return
            self._refuse_held(volume)
            if volume.is_protected:
                hint = f"Take the label off first: orlop volume update {name} --label-rm {PROTECT_LABEL}"
                raise Conflict(f"remove {name}", f"volume is protected by its label {PROTECT_LABEL}", hint)
            self._retire(volume, reason, force)

    def remove_elsewhere(self, name: str) -> None:
        """A volume of the cluster that this host has nothing of."""
        with self._locks.hold([name]):
            found = self._shared.find(name)
            if found is None:
                raise NoSuchVolume(name)
            self._shared.withdraw(view(found))
        self._events.publish("volume", "destroy", name, {"driver": found.driver})

    def _refuse_held(self, volume: Volume) -> None:
        holders = self._records.holders(volume.name)
        if holders:
            why = f"volume is in use - [{', '.join(holders)}]"
            raise Conflict(f"remove {volume.name}", why, f"Remove what uses it first: {self._describe(holders)}")

    def _retire(self, volume: Volume, reason: str, force: bool = False) -> None:
        """Called with its lock. In a cluster it is withdrawn first: what is cut off then is finished as on every other
        host, which forgets what is not in the catalogue any more."""
        self._records.refuse_moving(volume, f"remove {volume.name}")
        self._shared.withdraw(volume)
        try:
            self._retire_here(volume, reason, force)
        except BaseException:
            self._shared.publish_again(volume)
            raise

    def _retire_here(self, volume: Volume, reason: str, force: bool) -> None:
        for error in self._retirements.retire([volume], reason).values():
            if force and self._others.may_forget(volume):
                self._others.forget(volume, f"its removal was forced, which failed: {error}")
                self._events.publish("volume", "destroy", volume.name, {"driver": volume.driver})
                return
            if isinstance(error, OSError):
                raise HostFailure(f"remove {volume.name}", error.strerror or str(error)) from error
            raise error

    def remove_made_for(self, use: VolumeUse) -> None:
        """The volume that a creation made which then failed: nobody else knows of it, and no label protects it."""
        with self._locks.hold([use.volume]):
            volume = self._records.find(use.volume)
            if volume is not None and volume.name == use.volume and not self._records.holders(volume.name):
                labels = {key: value for key, value in (volume.labels or {}).items() if key != PROTECT_LABEL}
                volume = replace(volume, labels=labels or None)  # or it would be kept for ever
                self._retire(volume, "the container it was made for was not created")

    def prune(self, filters: Filters, include_named: bool) -> PruneReport:
        """Retire what nobody holds. What cannot go is logged and stays."""
        takes = prune_filter(filters, include_named, protected_too=True)
        if not self._pruning.acquire(blocking=False):
            raise Conflict("", "a prune operation is already running")
        removed: list[str] = []
        reclaimed = 0
        try:
            names = [volume.name for volume in self._records.all() if takes(volume)]
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                with self._locks.hold(batch):
                    gone, size = self._prune_batch(batch, takes)
                removed += gone
                reclaimed += size
        finally:
            self._pruning.release()
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return PruneReport(tuple(removed), reclaimed)

    def _prune_batch(self, names: Sequence[str], takes: Callable[[Volume], bool]) -> tuple[list[str], int]:
        volumes: list[Volume] = []
        for name in names:
            volume = self._records.find(name)
            # Looked at again: it may have been renamed, or labelled, before its lock was ours.
            if volume is None or volume.name != name or not takes(volume) or self._records.holders(name):
                continue
            try:
                self._records.refuse_moving(volume, f"prune {name}")
            except (Conflict, Unavailable) as moving:
                log.info("volume %s is not pruned: %s", name, moving.why)
                continue
            if volume.is_protected:
                log.info("volume %s is not pruned: its label %s protects it", name, PROTECT_LABEL)
            else:
                volumes.append(volume)
        if not volumes:
            return [], 0
        sizes = {volume.name: max(self._usage_bytes(volume.name), 0) for volume in volumes}
        refused = self._retirements.retire(volumes, "volume prune")
        for name, error in refused.items():
            log.warning("volume %s is not pruned: %s", name, error)
        gone = [volume.name for volume in volumes if volume.name not in refused]
        return gone, sum(sizes[name] for name in gone)
