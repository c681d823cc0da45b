"""The locks of volumes: one a volume, whichever of its names it is asked for by."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orlop.engine.keyed_locks import KeyedLocks
from orlop.engine.volume_records import VolumeRecords


class VolumeLocks:
    """Whoever holds some must not ask for more. A name that no volume has can be held too: nobody makes one of it."""

    def __init__(self, records: VolumeRecords) -> None:
        self._records = records
        self._locks = KeyedLocks()

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """The names and the volumes they mean."""
        given = set(names)
        while True:
            wanted = given | {self._records.real_name(name) for name in given}
            with self._locks.hold(wanted):
                # Asked again: a volume may have been renamed while its lock was awaited.
                if wanted >= {self._records.real_name(name) for name in given}:
                    yield
                    return
