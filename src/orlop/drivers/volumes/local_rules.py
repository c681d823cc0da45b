"""What the local driver accepts: names and options. Pure; the texts are the ones that Docker's clients know.

type, device, o    as in fstab: what is mounted on the volume's directory while somebody uses it
size               a quota
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orlop.errors import Malformed
from orlop.model.sizes import parse_size

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LONGEST = 255  # what a directory entry can hold
OPTIONS = frozenset({"type", "o", "device", "size"})


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What opts.json holds: how the data directory gets its content. All empty: it is a plain directory."""

    fs_type: str = ""
    device: str = ""
    options: str = ""
    quota_bytes: int = 0

    @property
    def needs_mount(self) -> bool:
        return bool(self.fs_type)


def check_name(name: str) -> None:
    subject = f"create {name}"
    if len(name) < 2:
        why = "volume name is too short, names should be at least two alphanumeric characters"
        raise Malformed(subject, why)
    if not _NAME.fullmatch(name):
        why = (
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )
        raise Malformed(subject, why)
    if len(name) > _LONGEST:
        raise Malformed(subject, f"the name is {len(name)} characters long, a directory's can have {_LONGEST}")


def parse_options(name: str, options: Mapping[str, str]) -> MountOptions:
    """Raises Malformed for options that could never work."""
    subject = f"create {name}"
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise Malformed(subject, f'invalid option: "{unknown[0]}"', "Known options: device, o, size, type")
    fs_type, device, words = options.get("type", ""), options.get("device", ""), options.get("o", "")
    if not device and (fs_type or words):
        raise Malformed(subject, 'missing required option: "device"')
    if not fs_type and (device or words):
        raise Malformed(subject, 'missing required option: "type"')
    if any("\x00" in value for value in options.values()):
        raise Malformed(subject, "an option holds a NUL byte")
    if fs_type == "cifs":
        _check_cifs(subject, device)
    return MountOptions(fs_type, device, words, _quota(subject, options.get("size", "")))


def _check_cifs(subject: str, device: str) -> None:
    try:
        port = urlsplit(device).port
    except ValueError as error:
        raise Malformed(subject, f"error parsing mount device url: {error}") from error
    if port is not None:
        raise Malformed(subject, "port not allowed in CIFS device URL, include 'port' in 'o='")


def _quota(subject: str, size: str) -> int:
    if not size:
        return 0
    try:
        wanted = parse_size(size)
    except ValueError as error:
        raise Malformed(subject, f"invalid size: '{size}'", "For example 512m or 10g") from error
    if wanted > 0:
        raise Malformed(subject, "quota size requested but no quota support", "Leave out the option size")
    return 0
