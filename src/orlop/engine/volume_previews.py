"""What a removal or a prune of volumes would take, told before it happens."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from orlop.drivers.volumes.abilities import Retirement
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_filters import prune_filter
from orlop.engine.volume_reports import VolumeReport, VolumeReports
from orlop.engine.volumes import Volumes
from orlop.errors import NoSuchVolume
from orlop.model.filters import Filters
from orlop.model.value import dataclass
from orlop.model.volume import PROTECT_LABEL, Volume


@dataclass(frozen=True, slots=True)
class Departure:
    """What would become of one volume."""

    name: str  # as it was asked for
    report: VolumeReport | None  # None: there is no such volume
    stays_because: str = ""
    purge_at_ns: int = 0  # until when it could be restored if it went now; 0: not at all


@dataclass(frozen=True, slots=True)
class VolumePreviews:
    """Changes nothing. Sizes that were never measured are waited for, all in all no longer than `wait_seconds`."""

    volumes: Volumes
    drivers: Mapping[str, VolumeDriver]
    reports: VolumeReports
    clock: Callable[[], int] = time.time_ns

    def of_removal(self, names: Iterable[str], wait_seconds: float = 0.0) -> list[Departure]:
        found: list[Departure] = []
        for name in dict.fromkeys(names):
            try:
                volume = self.volumes.get(name)
            except NoSuchVolume:
                found.append(Departure(name, None, "no such volume"))
                continue
            report = self.reports.look([volume], wait_seconds)[0]
            if volume.name != name:
                why = f"only this name of the volume {volume.name} goes; its data stays"
                found.append(Departure(name, report, why))
            else:
                found.append(self._departure(report))
        return found

    def of_prune(self, filters: Filters, include_named: bool, wait_seconds: float = 0.0) -> list[Departure]:
        """Those that would go, and those that stay although the filters name them, by name."""
        takes = prune_filter(filters, include_named)
        named = _without_reasons_to_stay(takes)
        volumes = [volume for volume in self.volumes.list_volumes({})[0] if named(volume)]
        return [self._departure(report, takes) for report in self.reports.look(volumes, wait_seconds)]

    def _departure(self, report: VolumeReport, takes: Callable[[Volume], bool] = lambda volume: True) -> Departure:
        volume = report.volume
        until = 0
        if isinstance(self.drivers.get(volume.driver), Retirement):
            until = self.volumes.retirements.policy.purge_at_ns(volume, self.clock())
        why = _reason_to_stay(report)
        if not why and not takes(volume):
            why = "prune leaves volumes whose options say where their data is"
        return Departure(volume.name, report, why, until)


def _reason_to_stay(report: VolumeReport) -> str:
    if report.volume.is_protected:
        return f"protected by its label {PROTECT_LABEL}"
    if report.users:
        return f"in use by {', '.join(dict.fromkeys(user.container for user in report.users))}"
    return ""


def _without_reasons_to_stay(takes: Callable[[Volume], bool]) -> Callable[[Volume], bool]:
    """Whether a prune would take a volume like this one if nothing protected it and its data were here."""

    def names(volume: Volume) -> bool:
        labels = {**(volume.labels or {}), PROTECT_LABEL: ""} if volume.is_protected else volume.labels
        return takes(replace(volume, options=None, labels=labels))

    return names
