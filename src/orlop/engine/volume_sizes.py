"""How much is in a volume: as last measured while that still holds, else as its driver says."""

import logging
from collections.abc import Mapping

from orlop.drivers.volumes.abilities import Usage
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import OrlopError

log = logging.getLogger(__name__)


class VolumeSizes:
    def __init__(self, records: VolumeRecords, drivers: Mapping[str, VolumeDriver], facts: FactRecords) -> None:
        self._records = records
        self._drivers = drivers
        self._facts = facts

    def known_bytes(self, volume_id: str) -> int:
        """As last measured, of one that is there or retired; -1 where it never was."""
        return self._facts.find(volume_id).size_bytes

    def usage_bytes(self, name: str) -> int:
        """-1 when it cannot be told. Raises NoSuchVolume."""
        volume = self._records.get(name)
        if self._facts.is_current(volume.id, in_use=bool(self._records.holders(name))):
            return self.known_bytes(volume.id)
        driver = self._drivers.get(volume.driver)
        try:
            return driver.usage_bytes(volume.name) if isinstance(driver, Usage) else -1
        except (OrlopError, OSError) as error:
            log.warning("how much is in volume %s cannot be told: %s", name, error)
            return -1
