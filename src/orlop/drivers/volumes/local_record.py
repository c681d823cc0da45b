"""What stands beside a volume's data: opts.json (Docker's format), and the record that the engine wants back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.volume_directory import CHANGE, METADATA, OPTIONS, VolumeDirectory, exists, read_file
from orlop.errors import HostFailure
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class WrittenChange:
    """A change that is decided and may not have reached the files that it concerns."""

    options: MountOptions | None  # None: no opts.json
    metadata: str


def read_options(volume: VolumeDirectory) -> MountOptions:
    """Raises HostFailure when opts.json says nothing that makes sense: only this volume is then broken, and it
    is not taken for a plain directory, where a container's bytes would land on the wrong disk."""
    change = read_change(volume)
    if change is not None:
        return change.options or MountOptions()
    if not exists(volume.fd, OPTIONS):
        return MountOptions()
    with _making_sense_of(volume, OPTIONS):
        return _parse(json.loads(read_file(volume.fd, OPTIONS)))


def read_change(volume: VolumeDirectory) -> WrittenChange | None:
    if not exists(volume.fd, CHANGE):
        return None
    with _making_sense_of(volume, CHANGE):
        text = read_file(volume.fd, CHANGE)
        if not text and not exists(volume.fd, CHANGE):
            return None  # done in between: who only looks does not hold the volume's lock
        found = json.loads(text)
        options = _parse(found["options"]) if found["options"] is not None else None
        return WrittenChange(options, found["metadata"])


def render_change(options: MountOptions | None, metadata: str) -> str:
    kept = json.loads(render_options(options)) if options is not None else None
    return json.dumps({"options": kept, "metadata": metadata})


@contextmanager
def _making_sense_of(volume: VolumeDirectory, file: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, AttributeError, TypeError, OSError, RecursionError) as error:
        # What is in it stays out of the message: options may hold a password.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _what_is_wrong(error)
        why = f"{volume.path / file} is unreadable: {reason}"
        raise HostFailure(f"volume {volume.name}", why, "Restore that file") from error


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at byte {error.pos}" if error.doc else "it is empty"
    if isinstance(error, UnicodeError | KeyError | RecursionError):
        return "it is not what was written there"
    return str(error)


def _parse(found: object) -> MountOptions:
    if found is None:
        return MountOptions()
    if not isinstance(found, dict):
        raise ValueError("it is not an object")
    quota, owner = (_part(found, key) for key in ("Quota", "Owner"))
    fs_type, device, words = (_text(found, key) for key in ("MountType", "MountDevice", "MountOpts"))
    return MountOptions(
        fs_type,
        device,
        words,
        _number(quota, "Size") or 0,
        _number(quota, "Inodes") or 0,
        _number(owner, "Uid"),
        _number(owner, "Gid"),
        _number(owner, "Mode"),
        found.get("NoCopy") is True,
        quota.get("Image") is True,
        owner.get("Pending") is True,
    )


def _part(found: dict[str, object], key: str) -> dict[str, object]:
    part = found.get(key) or {}
    if not isinstance(part, dict):
        raise ValueError(f"{key} is not an object")
    return part


def _text(found: dict[str, object], key: str) -> str:
    text = found.get(key) or ""
    if not isinstance(text, str):
        raise ValueError(f"{key} is not a text")
    return text


def _number(found: dict[str, object], key: str) -> int | None:
    number = found.get(key)
    if number is not None and (not isinstance(number, int) or number < 0):
        raise ValueError(f"{key} is not a number")
    return number


def render_options(options: MountOptions) -> str:
    """Docker's keys, and where they are wanted ours, which Docker skips."""
    quota: dict[str, int] = {"Size": options.quota_bytes}
    record: dict[str, object] = {
        "MountType": options.fs_type,
        "MountOpts": options.options,
        "MountDevice": options.device,
        "Quota": quota,
    }
    if options.inodes:
        quota["Inodes"] = options.inodes
    if options.in_image:
        quota["Image"] = True
    if options.has_owner:
        owner = {"Uid": options.uid, "Gid": options.gid, "Mode": options.mode}
        pending = {"Pending": True} if options.owner_pending else {}
        record["Owner"] = {key: value for key, value in owner.items() if value is not None} | pending
    if options.no_copy:
        record["NoCopy"] = True
    return json.dumps(record)


def spelt_options(options: MountOptions) -> dict[str, str]:
    """As `create` would take them."""
    given = {"type": options.fs_type, "device": options.device, "o": options.options}
    spelt = {key: value for key, value in given.items() if value}
    numbers = {"size": options.quota_bytes or None, "inodes": options.inodes or None}
    numbers |= {"uid": options.uid, "gid": options.gid}
    spelt |= {key: str(number) for key, number in numbers.items() if number is not None}
    if options.mode is not None:
        spelt["mode"] = f"{options.mode:04o}"
    return spelt | ({"nocopy": ""} if options.no_copy else {})


def read_metadata(volume: VolumeDirectory) -> str:
    """The engine's record; where another engine made the volume, one made up of its options."""
    with suppress(HostFailure):
        change = read_change(volume)
        if change is not None:
            return change.metadata
    text = read_file(volume.fd, METADATA)
    if text:
        return text
    with suppress(HostFailure):
        chosen = spelt_options(read_options(volume))
        return json.dumps({"options": chosen}) if chosen else ""
    return ""
