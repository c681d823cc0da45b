"""The steps of changing and renaming a volume, done and undone.

Each is one step of the driver. An error after it, or a crash before the journal has the outcome, takes it back: so the
record beside the data and the one in the journal are the same again, both as before or both as wished.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from orlop.drivers.volumes.abilities import Changing, Renaming
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import own_options
from orlop.errors import NotFound, Unavailable, Unsupported
from orlop.model.volume import Volume
from orlop.planning import volumes as plans
from orlop.planning.plan import Step


class VolumeChangeSteps:
    def __init__(self, executor: Executor, drivers: Mapping[str, VolumeDriver], records: VolumeRecords) -> None:
        self._drivers = drivers
        self._records = records
        self._stored: dict[str, StoredVolume] = {}
        change = StepActions(self._change, self._undo_change)
        rename = StepActions(self._rename, self._undo_rename)
        executor.register(OperationKind(plans.CHANGE, {plans.CHANGE: change}, "undo"))
        executor.register(OperationKind(plans.RENAME, {plans.RENAME: rename}, "undo"))

    def changing(self, name: str) -> Changing | None:
        """None: the driver cannot."""
        driver = self._driver(name)
        return driver if isinstance(driver, Changing) else None

    def renaming(self, name: str) -> Renaming:
        driver = self._driver(name)
        if not isinstance(driver, Renaming):
            raise Unsupported(f"volume driver {name}", "it cannot rename volumes")
        return driver

    def take_stored(self, name: str) -> StoredVolume | None:
        """The volume as its driver has it after the step, by its new name; None where the driver did nothing."""
        return self._stored.pop(name, None)

    def _driver(self, name: str) -> VolumeDriver:
        driver = self._drivers.get(name)
        if driver is None:
            raise Unavailable(f"volume driver {name}", "it is not there", "Make the driver available again")
        return driver

    def _change(self, step: Step) -> None:
        self._put_record(step, step.arguments["record"])
        self._stored[step.subject] = self._driver(step.arguments["driver"]).get(step.subject)

    def _undo_change(self, step: Step) -> None:
        self._stored.pop(step.subject, None)
        if not self._is_superseded(step):
            with suppress(NotFound):  # then there is nothing that could be wrong
                self._put_record(step, step.arguments["before"])

    def _is_superseded(self, step: Step) -> bool:
        """It was to be undone at an earlier start, in vain, and the volume changed since."""
        before = msgspec.json.decode(step.arguments["before"], type=Volume)
        known = self._records.find(before.name)
        return known is None or _wishes(known) != _wishes(before)

    def _put_record(self, step: Step, record: str) -> None:
        driver = self._driver(step.arguments["driver"])
        if isinstance(driver, Changing):
            driver.change(step.subject, own_options(driver, msgspec.json.decode(record, type=Volume)), record)

    def _rename(self, step: Step) -> None:
        new_name = step.arguments["new"]
        driver = self.renaming(step.arguments["driver"])
        self._stored[new_name] = driver.rename(step.subject, new_name, step.arguments["record"])

    def _undo_rename(self, step: Step) -> None:
        self._stored.pop(step.arguments["new"], None)
        if self._is_superseded(step):
            return
        try:
            self._driver(step.arguments["driver"]).get(step.subject)
        except NotFound:
            with suppress(NotFound):  # under neither name: then it is missing, which the reconciliation tells
                driver = self.renaming(step.arguments["driver"])
                driver.rename(step.arguments["new"], step.subject, step.arguments["before"])
        else:
            self._put_record(step, step.arguments["before"])


def _wishes(volume: Volume) -> Volume:
    """What somebody chose."""
    return replace(volume, mountpoint="", problem="")
