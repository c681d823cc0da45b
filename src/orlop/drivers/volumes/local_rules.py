"""What the local driver accepts as options. Pure; the texts are the ones that Docker's clients know.

type, device, o    as in fstab: what is mounted on the volume's directory while somebody uses it
size, inodes       limits
uid, gid, mode     owner and (octal) mode of the volume's top directory, whatever the image has there
nocopy             nothing is ever copied in from an image

`o` alone, with neither type nor device, may say all but the first line, as Podman takes it ("uid=1000,size=1g").
Beside a type it is the mount's own, and `uid=` in it is what the file system makes of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from orlop.errors import Malformed
from orlop.model.sizes import parse_size
from orlop.model.value import dataclass

_DOCKERS = frozenset({"type", "o", "device", "size"})
_VALUED = ("uid", "gid", "mode", "inodes")
_BARE = ("nocopy", "copy", "noquota")
OPTIONS = _DOCKERS | {*_VALUED, "nocopy", "copy"}
_MOST_BYTES = 2**62
_MOST_ID = 2**32 - 2  # the last one, -1, means "leave it" to chown(2)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What opts.json holds: how the data directory gets its content. All empty: it is a plain directory."""

    fs_type: str = ""
    device: str = ""
    options: str = ""
    quota_bytes: int = 0
    inodes: int = 0
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    no_copy: bool = False
    in_image: bool = False  # its bytes are in a file beside the data directory (local_image)
    owner_pending: bool = False  # the top directory has not got its owner yet: it is there only while it is mounted

    @property
    def needs_mount(self) -> bool:
        return bool(self.fs_type or self.device)

    @property
    def is_limited(self) -> bool:
        return bool(self.quota_bytes or self.inodes)

    @property
    def has_owner(self) -> bool:
        """Whether it says anything of who owns the top directory."""
        return not (self.uid is None and self.gid is None and self.mode is None)


_NO_OPTIONS = MountOptions()


def parse_options(name: str, options: Mapping[str, str], doing: str = "create") -> MountOptions:
    """Raises Malformed for options that could never work. As with Docker it is the key that counts: `device=` with
    nothing after it is a device that was given."""
    if not options:
        return _NO_OPTIONS
    subject = f"{doing} {name}"
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        known = f"Known options: {', '.join(sorted(OPTIONS))}"
        raise Malformed(subject, f"invalid option: {json.dumps(unknown[0], ensure_ascii=False)}", known)
    if any("\x00" in value for value in options.values()):
        raise Malformed(subject, "an option holds a NUL byte")
    fs_type, device, words = options.get("type", ""), options.get("device", ""), options.get("o", "")
    if fs_type == "cifs":
        _check_cifs(subject, device)
    given = {key: value for key, value in options.items() if key not in ("type", "device", "o")}
    if "o" in options and "type" not in options and "device" not in options:
        given = _with_words(subject, given, words)
        words = ""
    else:
        _check_pair(subject, options)
    found = MountOptions(
        fs_type,
        device,
        words,
        _quota(subject, given),
        _count(subject, given),
        _id(subject, "uid", given),
        _id(subject, "gid", given),
        _mode(subject, given),
        _no_copy(subject, given),
    )
    if found.is_limited and found.needs_mount and fs_type != "tmpfs":
        why = f"quota size requested but no quota support for what is mounted (type {fs_type or 'none'})"
        raise Malformed(subject, why, "Limit it where it is stored, and leave out size and inodes")
    if found.has_owner and found.needs_mount:
        _check_owner_of_mount(subject, found)
        return replace(found, owner_pending=fs_type != "tmpfs")
    return found


def _with_words(subject: str, given: Mapping[str, str], words: str) -> dict[str, str]:
    """The options as if each word of `o` had been one of them."""
    merged = dict(given)
    for word in words.split(","):
        key, separator, value = word.partition("=")
        key = key.strip().lower()
        if not (key in (*_VALUED, "size") if separator else key in _BARE):
            hint = "Without a type and a device, o can only say uid=, gid=, mode=, size=, inodes=, nocopy and noquota"
            raise Malformed(subject, 'missing required option: "device"', hint)
        if merged.get(key, value) != value:
            raise Malformed(subject, f"{key} is given twice, as '{merged[key]}' and as '{value}'")
        merged[key] = value
    if "noquota" in merged and (merged.get("size") or merged.get("inodes")):
        raise Malformed(subject, "noquota and a limit are given both")
    return merged


def _check_pair(subject: str, options: Mapping[str, str]) -> None:
    for key, other in (("type", "device"), ("device", "type")):
        if key in options and other not in options:
            raise Malformed(subject, f'missing required option: "{other}"')


def _check_owner_of_mount(subject: str, options: MountOptions) -> None:
    """What is mounted belongs to somebody else where it is a directory of the host, or another machine's."""
    words = options.options.split(",")
    if "bind" in words or "rbind" in words:
        hint = f"Change it there, with chown and chmod {options.device}"
        raise Malformed(subject, "uid, gid and mode are not for a directory of the host", hint)
    if options.fs_type in ("nfs", "nfs4", "cifs", "smb3"):
        hint = "Set them on the server; for cifs put uid= and gid= into o"
        raise Malformed(subject, f"uid, gid and mode are not for {options.fs_type}", hint)


def _check_cifs(subject: str, device: str) -> None:
    try:
        parts = urlsplit(device)
    except ValueError as error:
        raise Malformed(subject, f"error parsing mount device url: {error}") from error
    try:
        port = parts.port
    except ValueError:
        # Its text would show what stands there, and that may be a password.
        raise Malformed(subject, "error parsing mount device url: invalid port after host") from None
    if port is not None:
        raise Malformed(subject, "port not allowed in CIFS device URL, include 'port' in 'o='")


def _quota(subject: str, given: Mapping[str, str]) -> int:
    if "size" not in given:
        return 0
    size = given["size"]
    try:
        wanted = parse_size(size)
    except ValueError as error:
        suffix = re.fullmatch(r"[0-9.]+ ?([^0-9. ]+)", size)
        why = f"invalid suffix: '{suffix[1].lower()}'" if suffix else f"invalid size: '{size}'"
        raise Malformed(subject, why, "For example 512m or 10g") from error
    if wanted > _MOST_BYTES:
        raise Malformed(subject, f"size {size} is larger than any file system")
    return wanted


def _count(subject: str, given: Mapping[str, str]) -> int:
    return _number(subject, "inodes", given, _MOST_BYTES, "how many files and directories it may hold") or 0


def _id(subject: str, key: str, given: Mapping[str, str]) -> int | None:
    return _number(subject, key, given, _MOST_ID, f"a number from 0 to {_MOST_ID}")


def _number(subject: str, key: str, given: Mapping[str, str], most: int, meaning: str) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,20}", value) or int(value) > most:
        raise Malformed(subject, f"invalid {key}: '{value}'", f"It is {meaning}")
    return int(value)


def _mode(subject: str, given: Mapping[str, str]) -> int | None:
    value = given.get("mode")
    if value is None:
        return None
    if not re.fullmatch(r"0*[0-7]{1,4}", value):
        raise Malformed(subject, f"invalid mode: '{value}'", "It is octal, for example 0750 or 1777")
    return int(value, 8)


def _no_copy(subject: str, given: Mapping[str, str]) -> bool:
    for key in ("nocopy", "copy"):
        if given.get(key):
            raise Malformed(subject, f"invalid {key}: '{given[key]}'", f"{key} takes no value")
    if "nocopy" in given and "copy" in given:
        raise Malformed(subject, "copy and nocopy are given both")
    return "nocopy" in given
