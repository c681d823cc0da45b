"""What is wrong with a volume now, found out by looking: noted with it, never in the journal.

Looked at when it is inspected and when it could not be attached, and all of them at start. What is mounted on a volume
is not touched: it may be somebody else's storage, which may not answer.
"""

from orlop.drivers.volumes.abilities import SelfDescribing
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_steps import record_id
from orlop.errors import HostFailure, NotFound, OrlopError
from orlop.model.volume import Volume

MEND = "Put it back from a backup, or remove the volume and create it again"


def problem_of(driver: VolumeDriver | None, volume: Volume) -> str:
    """ "" when it is well."""
    if driver is None:
        return f"its driver {volume.driver} is not there"
    try:
        found = driver.get(volume.name).problem
        if not found:
            check_identity(driver, volume)
        return found
    except NotFound:
        return missing(volume)
    except OrlopError as error:
        return error.why
    except OSError as error:
        return f"it cannot be looked at: {error.strerror or error}"


def missing(volume: Volume) -> str:
    return f"its data directory {volume.mountpoint} is missing"


def check_identity(driver: VolumeDriver, volume: Volume) -> None:
    """Another volume may have been put in this one's place while nobody looked (a restored backup, a moved
    directory). A record that is missing or unreadable says nothing either way."""
    if not isinstance(driver, SelfDescribing):
        return
    try:
        found = record_id(driver.metadata(volume.name))
    except (NotFound, OSError):
        return
    if found and found != volume.id:
        why = f"another volume (id {found[:12]}) is in the place of this one (id {volume.id[:12]})"
        hint = "Put the right one back; or, to take what is there, delete orlop.json beside its data"
        raise HostFailure(f"attaching volume {volume.name}", why, hint)
