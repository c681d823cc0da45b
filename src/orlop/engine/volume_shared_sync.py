"""What other hosts of the cluster did to volumes that this host has as well, done here too, in a thread of its own.

changed       its labels and options follow
withdrawn     it is retired here, as by a removal: what this host kept of it can be had back for a while. Only while
              the store is there: what an old copy does not name is not gone
made before   a volume of global scope that was made without a cluster is published, when its name is free there; one
              with one writer that is in use meanwhile is bound to this host until its containers have stopped
"""

import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import replace

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Independent, Leashed
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.retirement import Retirements
from orlop.engine.volume_changes import VolumeChanges
from orlop.engine.volume_coming import ComingVolumes
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_others import OthersVolumes
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import GLOBAL, SharedVolumes
from orlop.engine.volume_survey import describe
from orlop.engine.volume_writing import BOUND, VolumeWriting
from orlop.errors import Conflict, OrlopError, Unavailable
from orlop.model.cluster import Access, GlobalVolume
from orlop.model.volume import Volume
from orlop.store.journal import Journal, Put

log = logging.getLogger(__name__)

_EVERYTHING = ""
_NOTHING = "/"  # which is no name: only what was left is looked at
_AGAIN_SECONDS = 1.0


class Followed:
    def __init__(
        self,
        journal: Journal,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        shared: SharedVolumes,
        changes: VolumeChanges,
        retirements: Retirements,
        others: OthersVolumes,
        writing: VolumeWriting,
        coming: ComingVolumes,
    ) -> None:
        self._coming = coming
        coming.look = self.look
        self._writing = writing
        self._journal = journal
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._shared = shared
        self._changes = changes
        self._retirements = retirements
        self._others = others
        self._told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._refused: set[str] = set()  # ids of what cannot be published, of which the log knows
        self._thread: threading.Thread | None = None

    def start(self, cluster: Cluster) -> None:
        cluster.match_uses(self._shared.own_uses)
        cluster.on_change(self._told.put)
        self._told.put(_EVERYTHING)
        self._thread = threading.Thread(target=self._run, args=(cluster,), name="cluster volumes", daemon=True)
        self._thread.start()

    def look(self, name: str) -> None:
        """Its driver or options have changed here: all hosts may have to know it from now on."""
        self._told.put(name)

    def close(self) -> None:
        self._told.put(None)
        if self._thread is not None:
            self._thread.join(5)

    def _run(self, cluster: Cluster) -> None:
        while (name := self._next()) is not None:
            for each in self._meant(name):
                try:
                    with self._locks.hold([each]):
                        self._look(cluster, each)
                except (OrlopError, OSError) as error:
                    log.warning("volume %s does not follow the cluster: %s", each, error)
            if (name == _EVERYTHING or self._coming.is_left) and cluster.is_current:
                self._coming.tidy(cluster)

    def _next(self) -> str | None:
        try:
            return self._told.get(timeout=_AGAIN_SECONDS if self._coming.is_left else None)
        except queue.Empty:
            return _NOTHING

    def _meant(self, name: str) -> list[str]:
        if name == _NOTHING:
            return []
        return [volume.name for volume in self._records.all()] if name == _EVERYTHING else [name]

    def _look(self, cluster: Cluster, name: str) -> None:
        volume = self._records.find(name)
        if volume is None or volume.name != name or not cluster.is_current:
            return
        found = cluster.find(name)
        if not volume.is_shared:
            if volume.scope == GLOBAL and not volume.is_anonymous and (found is None or _is_same(found, volume)):
                self._offer(cluster, volume)
        elif found is None or found.id != volume.id:
            self._forget(volume)
        elif found.coming == cluster.node:
            self._coming.reveal_known(volume)  # moved here by a daemon before this one, or while the store was away
        elif (found.labels, found.options) != (volume.labels, volume.options):
            self._changes.follow(volume, found.labels, found.options)
        elif found.bound == cluster.node:
            self._writing.unbind_unused(volume)

    def _forget(self, volume: Volume) -> None:
        why = "it was removed from the cluster"
        if self._records.holders(volume.name):
            self._records.mark(volume.name, why)
            log.error("volume %s: %s, and is used here", volume.name, why)
            return
        if isinstance(self._drivers.get(volume.driver), Independent):
            self._others.forget(volume, why)  # its driver was told by who removed it, and is not told twice
            return
        for error in self._retirements.retire([volume], why).values():
            raise error

    def _offer(self, cluster: Cluster, volume: Volume) -> None:
        """The same wish under the same name, on two hosts, was for the same storage: then it is one volume."""
        driver = self._drivers.get(volume.driver)
        if driver is None or volume.id in self._refused:
            return
        # What writes to it already hangs on no leash.
        is_written = isinstance(driver, Leashed) and driver.is_reached(volume.name)
        try:
            self._shared.check(f"create {volume.name}", driver, volume.options or {})
            is_bound = is_written and self._shared.access_of(volume) is Access.RWO
            published = self._shared.publish(volume, cluster.node if is_bound else "")
            found = cluster.find(volume.name)
            if is_bound and found is not None and found.bound != cluster.node:
                why = f"it is in use here, and node {found.node} had it before: two hosts may write to its storage"
                raise Conflict(f"publish {volume.name}", why, "Stop its containers here, now")
        except Unavailable:
            return  # asked again when the store is back
        except OrlopError as error:
            self._refused.add(volume.id)
            self._shared.remarks[volume.id] = f"stays with this host alone: {error.why}"
            log.warning("volume %s stays with this host alone: %s", volume.name, error)
            return
        if is_bound:
            self._shared.remarks[published.id] = BOUND
        volume = replace(volume, id=published.id, is_shared=True)
        for remark in describe(driver, volume):
            log.warning("volume %s: %s", volume.name, remark)
        self._journal.commit(Put("volumes", volume.name, volume))
        self._records.remember(volume)
        for holder in self._records.holders(volume.name):
            self._shared.begin_use(volume, holder)


def _is_same(found: GlobalVolume, volume: Volume) -> bool:
    return found.driver == volume.driver and (found.options or {}) == (volume.options or {})
