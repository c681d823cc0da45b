"""What a volume that lies on the disk says of itself: the record of one whose journal does not know it.

    orlop.json beside the data        taken as it is, id included, where it is this volume's own
    none, but options of the driver   a volume that another engine made: its options, no labels
    neither                           a plain one

What does not fit is said (`remarks`), and never decided in silence.
"""

import secrets
from dataclasses import replace

import msgspec

from orlop.drivers.volumes.abilities import Retirement, SelfDescribing, Settling, scope_of
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.volume_steps import render_record
from orlop.errors import OrlopError
from orlop.model.value import dataclass
from orlop.model.volume import RetiredVolume, RetirementPolicy, Volume

RECORD, OPTIONS, NOTHING = "record", "options", "nothing"  # where the facts are from


@dataclass(frozen=True, slots=True)
class Surveyed:
    volume: Volume
    source: str
    is_recorded: bool = False  # the record beside its data says just this, or says what must not be written over
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SurveyedRetired:
    retired: RetiredVolume
    remarks: tuple[str, ...] = ()
    is_recorded: bool = False  # what lies beside its data says just this


def survey_volume(driver: VolumeDriver, stored: StoredVolume) -> Surveyed:
    bare = Volume(
        stored.name, secrets.token_hex(32), driver.name, stored.created_at_ns, stored.mountpoint, scope=driver.scope
    )
    if not isinstance(driver, SelfDescribing):
        return Surveyed(bare, NOTHING)
    try:
        text = driver.metadata(stored.name)
    except (OrlopError, OSError) as error:
        return Surveyed(bare, NOTHING, remarks=(f"it says nothing of itself: {error}",))
    options, remarks = _options(driver, stored.name)
    plain = replace(bare, options=options or None, scope=scope_of(driver, options))
    source = OPTIONS if options else NOTHING
    try:
        found = msgspec.json.decode(text or "{}", type=Volume)
    except msgspec.MsgspecError as error:
        if _is_made_up(text):
            return Surveyed(plain, source, remarks=remarks)
        why = f"its record is unreadable ({error}): it stays as it is, but labels and the like are not known"
        return Surveyed(plain, source, is_recorded=True, remarks=(*remarks, why))
    if found.driver != driver.name:
        why = f"its record is the one of a volume of driver {found.driver}: only the id is taken from it"
        return Surveyed(replace(plain, id=found.id), source, is_recorded=True, remarks=(*remarks, why))
    scope = scope_of(driver, found.options)
    volume = replace(found, name=stored.name, mountpoint=stored.mountpoint, scope=scope, problem="")
    if found.name != stored.name:
        remarks += (f"its record is the one of {found.name}: id, labels and options are taken from it",)
    wished = found.options or {}
    if any(options[key] != wished[key] for key in options.keys() & wished.keys() & {"type", "device"}):
        remarks += ("its record says other options than its driver has: what is mounted is what the driver has",)
    return Surveyed(volume, RECORD, found.name == stored.name, remarks)


def _is_made_up(text: str) -> bool:
    """Whether there is no record: nothing at all, or what a driver makes up of the options it knows."""
    try:
        return not text or set(msgspec.json.decode(text, type=dict[str, dict[str, str]])) == {"options"}
    except msgspec.MsgspecError:
        return False


def _options(driver: SelfDescribing, name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    try:
        return dict(driver.options(name)), ()
    except (OrlopError, OSError) as error:
        return {}, (f"its options are unreadable: {error}",)


def survey_retired(driver: VolumeDriver, retired_id: str, policy: RetirementPolicy, now_ns: int) -> SurveyedRetired:
    text = ""
    remarks: tuple[str, ...] = ()
    if isinstance(driver, SelfDescribing):
        try:
            text = driver.retired_metadata(retired_id)
        except (OrlopError, OSError) as error:
            remarks = (f"it says nothing of itself: {error}",)
    try:
        found = msgspec.json.decode(text, type=RetiredVolume)
        if found.id == retired_id and found.volume.driver == driver.name:
            return SurveyedRetired(found, is_recorded=True)
        remarks += (f"its record is the one of retired volume {found.id[:12]}: not taken",)
    except msgspec.MsgspecError:
        pass
    volume = Volume(f"recovered-{retired_id[:12]}", retired_id, driver.name, now_ns, "")
    try:
        own = msgspec.json.decode(text, type=Volume)
        if own.driver == driver.name:
            volume = replace(own, id=retired_id, mountpoint="", problem="")
            remarks += ("when and why it was removed is not known: its grace begins anew",)
    except msgspec.MsgspecError:
        remarks += ("what it was is not known: it has no readable record",)
    purge_at = policy.purge_at_ns(volume, now_ns)
    retired = RetiredVolume(retired_id, volume, now_ns, purge_at, "found on the disk")
    return SurveyedRetired(retired, remarks)


def describe_retired(driver: VolumeDriver, found: RetiredVolume) -> tuple[str, ...]:
    """Have it say this from now on, where that is written late and a crash came first."""
    if not isinstance(driver, Settling) or not isinstance(driver, Retirement):
        return ()
    try:
        driver.retire(found.volume.name, found.id, render_record(found))
    except (OrlopError, OSError) as error:
        return (f"its record could not be written beside its data: {error}",)
    return ()


def describe(driver: VolumeDriver, volume: Volume) -> tuple[str, ...]:
    """Write the volume's record beside its data; what failed, in words: the journal has it anyway."""
    if not isinstance(driver, SelfDescribing):
        return ()
    try:
        driver.describe(volume.name, render_record(volume))
    except (OrlopError, OSError) as error:
        return (f"its record could not be written beside its data: {error}",)
    return ()
