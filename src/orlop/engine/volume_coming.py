"""A volume of this host alone that moves to storage which all hosts of the cluster reach.

    announced     its name, driver and options stand in the catalogue as `coming`: nobody else gets the name or makes
                  another volume of that storage, and nobody can use it
    written       where one host at a time may write: write access first, on its leash, then the copy is attached
    moved         the journal has it: it is the cluster's, with this host as its writer
    revealed      it is not `coming` any more: the others may use it

Whatever ends the move before it is in the journal withdraws it; after that it is revealed, by a daemon after a crash as
well. What is announced and belongs to no move that is under way is withdrawn when the store is there (again).
"""

import logging
from collections.abc import Callable, Mapping

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Shareable
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_writing import VolumeWriting
from orlop.errors import Conflict, OrlopError
from orlop.model.cluster import GlobalVolume
from orlop.model.volume import Volume

log = logging.getLogger(__name__)


class ComingVolumes:
    """Thread-safe. For what is not for the cluster all of this is nothing."""

    def __init__(
        self,
        shared: SharedVolumes,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        writing: VolumeWriting,
    ) -> None:
        self._shared = shared
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self.writing = writing
        self._under_way: set[str] = set()  # names
        self._left: set[str] = set()  # ids of what could not be withdrawn yet
        self.look: Callable[[str], None] = lambda name: None  # set by whoever follows the cluster, and tidies

    def announce(self, target: Volume) -> None:
        """Raises Conflict where somebody has the name or the storage, Unavailable."""
        if not target.is_shared:
            return
        with self._locks.hold([target.name]):
            self._under_way.add(target.name)
            try:
                self._publish(target)
            except BaseException:
                self._under_way.discard(target.name)
                raise

    def _publish(self, target: Volume) -> None:
        cluster = self._shared.required(f"move {target.name}")
        left = self._shared.find(target.name)
        if left is not None and left.id == target.id and left.coming == cluster.node:
            cluster.withdraw(left)  # of an attempt that ended while the store was away
        wish = self._shared.entry_of(target, coming=cluster.node)
        self._shared.refuse_twin(wish)
        found = self._shared.publish_entry(wish)
        if found != wish:
            why = f"{target.name} is a volume of the cluster, made on node {found.node}"
            raise Conflict(f"move {target.name}", why, "Give this one another name first: orlop volume rename")
        try:
            self._shared.refuse_twin(wish)  # made at the same moment
        except BaseException:
            self._withdraw(target.name, found)
            raise

    def withdraw(self, target: Volume) -> None:
        """It does not come. Never raises: whoever calls has an error of its own to tell."""
        if not target.is_shared:
            return
        with self._locks.hold([target.name]):
            self._under_way.discard(target.name)
            found = self._shared.find(target.name)
            if found is not None and found.id == target.id:
                self._withdraw(target.name, found)
        self.look(target.name)

    @property
    def is_left(self) -> bool:
        """Whether something is announced that should not be, and could not be withdrawn yet."""
        return bool(self._left)

    def _withdraw(self, name: str, found: GlobalVolume) -> None:
        why = "this host may still write to its storage"
        if not self.writing.may_write(found.id):
            try:
                self._shared.withdraw_entry(found)
                self._left.discard(found.id)
                return
            except OrlopError as error:
                why = str(error)
        if found.id not in self._left:
            log.warning("volume %s stays announced in the cluster for now: %s", name, why)
        self._left.add(found.id)

    def reveal(self, volume: Volume) -> None:
        """The journal has it. Never raises: what cannot be told now is told when the store is there again."""
        if not volume.is_shared:
            return
        with self._locks.hold([volume.name]):
            self._under_way.discard(volume.name)
            try:
                self.reveal_known(volume)
            except OrlopError as error:
                log.warning("volume %s: other hosts can use it when etcd answers: %s", volume.name, error)

    def reveal_known(self, volume: Volume) -> None:
        """With its lock. Raises Unavailable, NotFound."""
        cluster, found = self._shared.required(f"move {volume.name}"), self._shared.find(volume.name)
        if found is None or found.id != volume.id or not found.coming:
            return
        for holder in self._records.holders(volume.name):  # first: else somebody might remove it meanwhile
            self._shared.begin_use(volume, holder)
        driver = self._drivers.get(volume.driver)
        if isinstance(driver, Shareable) and (identity := driver.identity(volume.name)):
            cluster.identify(found, identity)
        self._shared.reveal_entry(found)
        log.info("volume %s is the cluster's now", volume.name)

    def tidy(self, cluster: Cluster) -> None:
        """What a daemon before this one announced, or a move that ended while the store was away."""
        for entry in cluster.volumes():
            if entry.coming != cluster.node:
                continue
            with self._locks.hold([entry.name]):
                volume = self._records.find(entry.name)
                is_ours = volume is not None and volume.is_shared and volume.id == entry.id
                if not is_ours and entry.name not in self._under_way:
                    if entry.id not in self._left:
                        log.info("volume %s does not come to the cluster: its move ended", entry.name)
                    self._withdraw(entry.name, entry)
