"""What was seen of volumes: when and by whom they were last used, how much they held when somebody last counted.

Kept under the volume's id, which stays through renaming, removal and restore, and goes with the purge. Nothing depends
on a fact: a crash may lose the latest ones, and nobody waits until one is written (Journal.note).
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Collection

from orlop.drivers.volumes.abilities import Measurement
from orlop.errors import OrlopError
from orlop.model.volume import VolumeFacts
from orlop.store.journal import Drop, Journal, Put

IN_USE_NS = 60_000_000_000  # how long a figure holds while somebody may be writing

_NOTHING = VolumeFacts()

log = logging.getLogger(__name__)


class FactRecords:
    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int] = time.time_ns,
        describe_container: Callable[[str], str] = lambda container_id: container_id[:12],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._describe = describe_container
        self._lock = threading.Lock()
        self._facts: dict[str, VolumeFacts] = {}
        self._changed: dict[str, int] = {}  # when something else than a container may have written

    def load(self) -> None:
        try:
            facts = self._journal.load("facts", VolumeFacts)
        except OrlopError as error:
            log.warning("facts of volumes are not known any more: %s", error)
            return
        now = self._clock()
        with self._lock:
            self._facts = facts
            # In use when the daemon ended: nobody saw what was written afterwards, nor the end of the use.
            in_use = [known for known, it in facts.items() if it.last_mounted_at_ns > it.last_unmounted_at_ns]
            self._changed = dict.fromkeys(in_use, now)

    def find(self, volume_id: str) -> VolumeFacts:
        return self._facts.get(volume_id, _NOTHING)

    def is_current(self, volume_id: str, in_use: bool) -> bool:
        """Whether what was measured still holds, as far as can be known without looking."""
        facts = self.find(volume_id)
        if in_use:
            return self._clock() - facts.measured_at_ns < IN_USE_NS
        last_use = max(facts.last_mounted_at_ns, facts.last_unmounted_at_ns, self._changed.get(volume_id, 0))
        return facts.measured_at_ns > 0 and facts.measured_at_ns >= last_use

    # What is seen

    def mounted(self, volume_id: str, container_id: str) -> None:
        name = self._describe(container_id)
        now = self._clock()
        self._note(volume_id, last_mounted_at_ns=now, last_container=name, last_container_id=container_id)

    def unmounted(self, volume_id: str) -> None:
        self._note(volume_id, last_unmounted_at_ns=self._clock())

    def changed(self, volume_id: str) -> None:
        """Somebody wrote into it without a container."""
        self._changed[volume_id] = self._clock()

    def measured(self, volume_id: str, found: Measurement, at_ns: int) -> None:
        """`at_ns`: when the counting began."""
        self._note(
            volume_id,
            size_bytes=found.size_bytes,
            disk_bytes=found.disk_bytes,
            entries=found.entries,
            last_write_ns=found.last_write_ns or self.find(volume_id).last_write_ns,
            measured_at_ns=at_ns,
        )

    def written(self, volume_id: str, at_ns: int) -> None:
        """The newest change that was seen, where the size is counted by somebody who cannot tell that."""
        if at_ns > self.find(volume_id).last_write_ns:
            self._note(volume_id, last_write_ns=at_ns)

    def _note(self, volume_id: str, **seen: int | str) -> None:
        with self._lock:
            facts = self._facts.get(volume_id, _NOTHING)
            facts = self._facts[volume_id] = dataclasses.replace(facts, **seen)  # type: ignore[arg-type]
            self._journal.note(Put("facts", volume_id, facts))

    # The end of a volume

    def forget(self, volume_id: str) -> None:
        with self._lock:
            self._changed.pop(volume_id, None)
            if self._facts.pop(volume_id, None) is not None:
                self._journal.note(Drop("facts", volume_id))

    def keep_only(self, volume_ids: Collection[str]) -> None:
        """At start: a purge was cut off before its facts went, too."""
        for volume_id in [known for known in self._facts if known not in volume_ids]:
            self.forget(volume_id)
