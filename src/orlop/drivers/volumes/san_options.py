"""What the SAN driver accepts, and what it makes of it. Pure.

iSCSI   portal, target, lun, initiator, chap-user, chap-password
NBD     host, port, export
both    via, fstype, format, fsck, read-only, discard, data-journal, uid, gid, mode
"""

import re
from collections.abc import Mapping
from enum import StrEnum

from orlop.errors import Malformed
from orlop.model.value import dataclass

ISCSI, NBD = "iscsi", "nbd"
FILE_SYSTEMS = ("ext4", "xfs")

_OF_ISCSI = ("portal", "target", "lun", "initiator", "chap-user", "chap-password")
_OF_NBD = ("host", "port", "export")
_OF_BOTH = ("protocol", "via", "fstype", "format", "fsck", "read-only", "discard", "uid", "gid", "mode", "data-journal")

# RFC 3720: iqn.YYYY-MM.reversed.domain[:anything], eui.<16 hex>, naa.<16 or 32 hex>
_ISCSI_NAME = re.compile(r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[^\s:/]+(:\S+)?|eui\.[0-9a-fA-F]{16}|naa\.[0-9a-fA-F]{16,32}")
_HOST = re.compile(r"[a-zA-Z0-9_.-]+|[0-9a-fA-F:.%a-z]*:[0-9a-fA-F:.%a-z]*")
_PORTAL = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_LONGEST_NAME = 223
_MOST_LUN = 16383
_MOST_ID = 2**32 - 2
_YES, _NO = ("", "true", "yes", "on", "1"), ("false", "no", "off", "0")
_ISCSI_PORT, _NBD_PORT = 3260, 10809


class Via(StrEnum):
    """Who speaks to the storage."""

    AUTO = "auto"  # the kernel where it can, in a program where it cannot
    KERNEL = "kernel"
    USERSPACE = "userspace"


class Format(StrEnum):
    BLANK_ONLY = "blank-only"  # a file system is made where the device certainly holds nothing
    NEVER = "never"


class Fsck(StrEnum):
    AUTO = "auto"  # what a journal's replay leaves to do
    ALWAYS = "always"  # everything is looked through
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Portal:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class IscsiDevice:
    portal: Portal
    target: str
    lun: int
    initiator: str = ""
    chap_user: str = ""
    chap_password: str = ""

    @property
    def key(self) -> str:
        """The same for the same device: the name of a target is the only one of its kind, by whichever portal."""
        return f"iscsi {self.target.lower()} lun {self.lun}"

    def __str__(self) -> str:
        return f"LUN {self.lun} of {self.target} at {self.portal}"


@dataclass(frozen=True, slots=True)
class NbdDevice:
    server: Portal
    export: str

    @property
    def key(self) -> str:
        return f"nbd {self.server} {self.export}"

    def __str__(self) -> str:
        return f"NBD export {self.export!r} at {self.server}" if self.export else f"the NBD export at {self.server}"


@dataclass(frozen=True, slots=True)
class SanOptions:
    device: IscsiDevice | NbdDevice
    via: Via = Via.AUTO
    fs_type: str = ""  # "": what is there, and ext4 where nothing is
    format: Format = Format.BLANK_ONLY
    fsck: Fsck = Fsck.AUTO
    read_only: bool = False
    discard: bool = True
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    data_journal: bool = False  # ext4: data goes through the journal too, and is old or new after a crash


def parse_san_options(subject: str, options: Mapping[str, str]) -> SanOptions:
    """Raises Malformed for options that could never work."""
    protocol = options.get("protocol", ISCSI)
    if protocol not in (ISCSI, NBD):
        raise Malformed(subject, f"invalid protocol: '{protocol}'", "It is iscsi or nbd")
    _check_names(subject, protocol, options)
    if any("\x00" in value for value in options.values()):
        raise Malformed(subject, "an option holds a NUL byte")
    found = SanOptions(
        _iscsi(subject, options) if protocol == ISCSI else _nbd(subject, options),
        Via(_one_of(subject, "via", options, tuple(Via)) or Via.AUTO),
        _one_of(subject, "fstype", options, FILE_SYSTEMS),
        Format(_one_of(subject, "format", options, tuple(Format)) or Format.BLANK_ONLY),
        Fsck(_one_of(subject, "fsck", options, tuple(Fsck)) or Fsck.AUTO),
        _flag(subject, "read-only", options, False),
        _flag(subject, "discard", options, True),
        _number(subject, "uid", options, _MOST_ID),
        _number(subject, "gid", options, _MOST_ID),
        _mode(subject, options),
        _flag(subject, "data-journal", options, False),
    )
    owned = found.uid is not None or found.gid is not None or found.mode is not None
    if owned and (found.read_only or found.format is Format.NEVER):
        hint = "uid, gid and mode are given to a file system when it is made, and this volume never makes one"
        raise Malformed(subject, "an owner is given to what is not made", hint)
    return found


def _check_names(subject: str, protocol: str, options: Mapping[str, str]) -> None:
    own, others = (_OF_ISCSI, _OF_NBD) if protocol == ISCSI else (_OF_NBD, _OF_ISCSI)
    for key in sorted(options):
        if key in others:
            raise Malformed(subject, f'"{key}" is not for protocol={protocol}', f"It has: {', '.join(own)}")
        if key not in own and key not in _OF_BOTH:
            raise Malformed(subject, f'invalid option: "{key}"', f"Known options: {', '.join((*own, *_OF_BOTH))}")
    for key in ("portal", "target", "lun") if protocol == ISCSI else ("host",):
        if not options.get(key):
            raise Malformed(subject, f'missing required option: "{key}"')


def _iscsi(subject: str, options: Mapping[str, str]) -> IscsiDevice:
    for key in ("target", "initiator"):
        name = options.get(key)
        if name is not None and (not _ISCSI_NAME.fullmatch(name) or len(name) > _LONGEST_NAME):
            raise Malformed(subject, f"invalid {key}: '{name}'", "For example iqn.2026-11.com.example:disk1")
    user, password = options.get("chap-user", ""), options.get("chap-password", "")
    if bool(user) != bool(password):
        missing = "chap-password" if user else "chap-user"
        raise Malformed(subject, f'missing required option: "{missing}"', "CHAP takes a user and a password")
    return IscsiDevice(
        _portal(subject, options["portal"]),
        options["target"],
        _number(subject, "lun", options, _MOST_LUN) or 0,
        options.get("initiator", ""),
        user,
        password,
    )


def _portal(subject: str, text: str) -> Portal:
    found = _PORTAL.fullmatch(text)
    host = (found[1] or found[2]) if found else ""
    if not found or not _HOST.fullmatch(host):
        hint = "For example 192.168.1.5, san.example.com:3260 or [fd00::5]:3260"
        raise Malformed(subject, f"invalid portal: '{text}'", hint)
    return Portal(host, _port(subject, "portal", found[3] or str(_ISCSI_PORT)))


def _nbd(subject: str, options: Mapping[str, str]) -> NbdDevice:
    host, export = options["host"].strip("[]"), options.get("export", "")
    if not _HOST.fullmatch(host):
        raise Malformed(subject, f"invalid host: '{options['host']}'", "It is the name or the address of a server")
    if len(export.encode()) > 4096:
        raise Malformed(subject, "the name of the export is longer than NBD allows")
    return NbdDevice(Portal(host, _port(subject, "port", options.get("port", str(_NBD_PORT)))), export)


def _port(subject: str, key: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise Malformed(subject, f"invalid {key}: the port '{text}'", "It is a number from 1 to 65535")
    return int(text)


def _one_of(subject: str, key: str, options: Mapping[str, str], known: tuple[str, ...]) -> str:
    value = options.get(key, "")
    if key in options and value not in known:
        raise Malformed(subject, f"invalid {key}: '{value}'", f"It is one of: {', '.join(known)}")
    return value


def _flag(subject: str, key: str, options: Mapping[str, str], default: bool) -> bool:
    value = options.get(key)
    if value is None:
        return default
    if value.lower() not in (*_YES, *_NO):
        raise Malformed(subject, f"invalid {key}: '{value}'", "It is true or false")
    return value.lower() in _YES


def _number(subject: str, key: str, options: Mapping[str, str], most: int) -> int | None:
    value = options.get(key)
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,20}", value) or int(value) > most:
        raise Malformed(subject, f"invalid {key}: '{value}'", f"It is a number from 0 to {most}")
    return int(value)


def _mode(subject: str, options: Mapping[str, str]) -> int | None:
    value = options.get("mode")
    if value is None:
        return None
    if not re.fullmatch("0*[0-7]{1,4}", value):
        raise Malformed(subject, f"invalid mode: '{value}'", "It is octal, for example 0750 or 1777")
    return int(value, 8)
