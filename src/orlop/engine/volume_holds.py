"""Who holds which volume: durable references, taken when a container is created and let go when it is removed."""

import logging
from collections.abc import Callable, Collection, Iterable

from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.errors import OrlopError
from orlop.model.volume import VolumeUse

log = logging.getLogger(__name__)


class VolumeHolds:
    """A container holds a volume by the name it knows it by, so that this name keeps leading there."""

    def __init__(
        self,
        records: VolumeRecords,
        locks: VolumeLocks,
        remove: Callable[[VolumeUse], None],
        shared: SharedVolumes,
    ) -> None:
        self._records = records
        self._shared = shared
        self._locks = locks
        self._remove = remove

    def hold_all(self, names: Iterable[str], container_id: str) -> None:
        """All of them, in one commit, or none."""
        wanted = sorted(set(names))
        with self._locks.hold(wanted):
            for volume in [self._records.get(name) for name in wanted]:
                self._shared.begin_use(volume, container_id)
            self._records.hold(wanted, container_id)

    def release(self, name: str, container_id: str) -> None:
        with self._locks.hold([name]):
            self._records.release(name, container_id)
            self._shared.end_use(self._records.find(name), container_id)

    def abandon(self, container_id: str, names: Iterable[str]) -> None:
        """The container was not created: it holds nothing, and the volumes made for it go. What fails here is logged,
        for the caller has an error of its own to tell."""
        for name in names:
            use = self._records.find_hold(name, container_id)
            if use is None:
                continue
            try:
                self.release(name, container_id)
                self._remove_made_for(use)
            except (OrlopError, OSError) as error:
                log.warning("volume %s of a container that was not created stays: %s", name, error)

    def _remove_made_for(self, use: VolumeUse) -> None:
        if use.made_for and not self._records.holders(use.volume):
            self._remove(use)

    def release_unknown(self, container_ids: Collection[str]) -> list[str]:
        """At start: drop the holds of containers that are not there. Their creation was cut off, so the anonymous
        volumes made for them go as well; one with a name may be somebody's by now. Returns what was done, in words."""
        stale = self._records.release_others(container_ids)
        for use in stale:
            volume = self._records.find(use.volume)
            try:
                if volume is not None and volume.is_anonymous:
                    self._remove_made_for(use)
            except (OrlopError, OSError) as error:
                log.warning("volume %s of a container that was not created stays: %s", use.volume, error)
        return [f"volume {use.volume} was held by {use.container_id[:12]}, which was not created" for use in stale]
