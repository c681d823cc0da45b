"""What a served volume knows of itself: its record beside the data, and for which options its program was started."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.mount_program import Command, MountProgram
from orlop.drivers.volumes.volume_directory import VolumeDirectory, read_file
from orlop.errors import HostFailure

SERVED = "served.json"
_STARTED_FOR = "started-for"  # in the program's place, which only root reads: a digest


def read_served(volume: VolumeDirectory) -> tuple[str, dict[str, str]]:
    """Its id and its options. Raises HostFailure."""
    return parse_served(volume.name, read_file(volume.fd, SERVED), volume.path / SERVED)


def parse_served(name: str, text: str, path: Path) -> tuple[str, dict[str, str]]:
    try:
        found = json.loads(text)
        return str(found["id"]), {str(key): str(value) for key, value in found["options"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        why = f"{path} is unreadable" if text else f"{path} is missing"
        raise HostFailure(f"volume {name}", why, "Restore that file from a backup") from error


def stamped(command: Command, options: Mapping[str, str]) -> Command:
    """`options` with their secrets, of which the digest tells nothing."""
    return replace(command, files={**command.files, _STARTED_FOR: _digest(options)})


def is_started_for(program: MountProgram, options: Mapping[str, str]) -> bool:
    """What cannot be told is taken for yes."""
    try:
        return (program.place / _STARTED_FOR).read_text() == _digest(options)
    except FileNotFoundError:
        return True


def _digest(options: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(options.items())).encode()).hexdigest()
