"""All volumes of all drivers, as they say of themselves, made fit to stand in one journal together."""

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orlop.drivers.volumes.abilities import Retirement
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_survey import Surveyed, SurveyedRetired, describe, survey_retired, survey_volume
from orlop.model.value import dataclass
from orlop.model.volume import RetirementPolicy


@dataclass(frozen=True, slots=True)
class Recovered:
    volumes: tuple[Surveyed, ...] = ()
    retired: tuple[SurveyedRetired, ...] = ()


def recover_volumes(drivers: Mapping[str, VolumeDriver], policy: RetirementPolicy, now_ns: int) -> Recovered:
    """Reads only. Raises what a driver raises that cannot list: half of the volumes are no recovery."""
    volumes: list[Surveyed] = []
    retired: list[SurveyedRetired] = []
    for driver in drivers.values():
        for stored in driver.list_volumes():
            surveyed = survey_volume(driver, stored)
            if stored.problem:
                surveyed = _remarked(surveyed, stored.problem)
            volumes.append(surveyed)
        if isinstance(driver, Retirement):
            for retired_id in driver.list_retired():
                retired.append(_with_time(survey_retired(driver, retired_id, policy, now_ns), policy, now_ns))
    return Recovered(tuple(_with_own_aliases(_with_own_ids(volumes))), tuple(retired))


def write_records(drivers: Mapping[str, VolumeDriver], found: Recovered) -> Recovered:
    """Beside the data of each volume whose record there says something else, or is missing."""
    volumes = [
        surveyed
        if surveyed.is_recorded
        else _remarked(surveyed, *describe(drivers[surveyed.volume.driver], surveyed.volume))
        for surveyed in found.volumes
    ]
    return replace(found, volumes=tuple(volumes))


def _remarked(surveyed: Surveyed, *remarks: str) -> Surveyed:
    return replace(surveyed, remarks=(*surveyed.remarks, *remarks)) if remarks else surveyed


def _with_time(surveyed: SurveyedRetired, policy: RetirementPolicy, now_ns: int) -> SurveyedRetired:
    """Whoever has just recovered must be able to look before a grace that ended meanwhile takes a volume."""
    retired = surveyed.retired
    if retired.purge_at_ns > now_ns:
        return surveyed
    purge_at = policy.purge_at_ns(retired.volume, now_ns)
    why = "its grace had ended while there was no journal: it begins anew"
    return SurveyedRetired(replace(retired, purge_at_ns=purge_at), (*surveyed.remarks, why))


def _with_own_ids(volumes: Sequence[Surveyed]) -> list[Surveyed]:
    """An id is one volume's: of copies, the one whose record names its own folder keeps it, else the oldest."""
    by_id: dict[str, list[Surveyed]] = defaultdict(list)
    for surveyed in volumes:
        by_id[surveyed.volume.id].append(surveyed)
    result = []
    for surveyed in volumes:
        same = by_id[surveyed.volume.id]
        keeper = min(same, key=lambda each: (not each.is_recorded, each.volume.created_at_ns, each.volume.name))
        if surveyed is keeper:
            result.append(surveyed)
            continue
        why = f"{keeper.volume.name} has the same id {keeper.volume.id[:12]}: this one gets an id of its own"
        volume = replace(surveyed.volume, id=secrets.token_hex(32))
        result.append(replace(surveyed, volume=volume, is_recorded=False, remarks=(*surveyed.remarks, why)))
    return result


def _with_own_aliases(volumes: Sequence[Surveyed]) -> list[Surveyed]:
    """An alias is one volume's, and no volume's name."""
    taken = {surveyed.volume.name: surveyed.volume.name for surveyed in volumes}
    result = []
    for surveyed in volumes:
        kept = []
        for alias in surveyed.volume.aliases:
            if alias in taken:
                surveyed = _remarked(surveyed, f"its alias {alias} is dropped: {taken[alias]} has that name")
            else:
                taken[alias] = surveyed.volume.name
                kept.append(alias)
        if len(kept) != len(surveyed.volume.aliases):
            surveyed = replace(surveyed, volume=replace(surveyed.volume, aliases=tuple(kept)), is_recorded=False)
        result.append(surveyed)
    return result
