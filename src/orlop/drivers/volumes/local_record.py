"""What stands beside a volume's data: opts.json (Docker's format), and the record that the engine wants back."""

import json
from collections.abc import Mapping
from contextlib import suppress

from orlop.drivers.volumes.local_directory import METADATA, OPTIONS, VolumeDirectory, exists, read_file
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.errors import HostFailure


def read_options(volume: VolumeDirectory) -> MountOptions:
    """Raises HostFailure when opts.json says nothing that makes sense: only this volume is then broken, and it
    is not taken for a plain directory, where a container's bytes would land on the wrong disk."""
    if not exists(volume.fd, OPTIONS):
        return MountOptions()
    path = volume.path / OPTIONS
    try:
        return _parse(json.loads(read_file(volume.fd, OPTIONS)))
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise HostFailure(f"volume {volume.name}", f"{path} is unreadable: {error}", "Restore that file") from error


def _parse(found: Mapping[str, object] | None) -> MountOptions:
    if found is None:
        return MountOptions()
    fs_type, device, words = (found.get(key) or "" for key in ("MountType", "MountDevice", "MountOpts"))
    if not (isinstance(fs_type, str) and isinstance(device, str) and isinstance(words, str)):
        raise ValueError("an option is not a text")
    quota = found.get("Quota") or {}
    size = quota.get("Size") or 0 if isinstance(quota, dict) else None
    if not isinstance(size, int):
        raise ValueError("its quota is not a number")
    return MountOptions(fs_type, device, words, size)


def render_options(options: MountOptions) -> str:
    record = {
        "MountType": options.fs_type,
        "MountOpts": options.options,
        "MountDevice": options.device,
        "Quota": {"Size": options.quota_bytes},
    }
    return json.dumps(record)


def read_metadata(volume: VolumeDirectory) -> str:
    """The engine's record; where another engine made the volume, one made up of its options."""
    text = read_file(volume.fd, METADATA)
    if text:
        return text
    with suppress(HostFailure):
        options = read_options(volume)
        given = {"type": options.fs_type, "device": options.device, "o": options.options}
        chosen = {key: value for key, value in given.items() if value}
        return json.dumps({"options": chosen}) if chosen else ""
    return ""
