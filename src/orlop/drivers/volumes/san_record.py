"""What stands beside a SAN volume's data in san.json: which device it is, and which file system of it.

`uuid` is written before a file system is made under it (`is_being_made`), or when one is found the first time. From
then on a device that holds another one is not this volume's.
"""

import json
from collections.abc import Mapping
from dataclasses import field

from orlop.drivers.volumes.volume_directory import VolumeDirectory, read_file, replace_file
from orlop.errors import HostFailure
from orlop.model.value import dataclass

SAN = "san.json"


@dataclass(frozen=True, slots=True)
class SanRecord:
    id: str
    options: Mapping[str, str] = field(default_factory=dict)  # as given: secrets by name
    uuid: str = ""
    is_being_made: bool = False


def render_record(record: SanRecord) -> str:
    found = {"id": record.id, "options": dict(record.options), "uuid": record.uuid, "making": record.is_being_made}
    return json.dumps(found)


def read_record(volume: VolumeDirectory) -> SanRecord:
    """Raises HostFailure where it makes no sense: without it nobody knows whose device that is."""
    text = read_file(volume.fd, SAN)
    try:
        found = json.loads(text)
        options = {str(key): str(value) for key, value in found["options"].items()}
        return SanRecord(str(found["id"]), options, str(found["uuid"]), found["making"] is True)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        why = f"{volume.path / SAN} is {'unreadable' if text else 'missing'}"
        raise HostFailure(f"volume {volume.name}", why, "Restore that file from a backup") from error


def write_record(volume: VolumeDirectory, record: SanRecord) -> None:
    """Durable when this returns."""
    replace_file(volume.fd, SAN, render_record(record))
