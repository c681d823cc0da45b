"""Access control lists as GNU tar and star write them (SCHILY.acl.*, a text), and as Linux keeps them (an attribute,
struct posix_acl_xattr_header and its entries). Pure.

    user::rwx,user:1000:r--,group::r-x,mask::r-x,other::---

A named user or group is known by its number: `user:1000:r--`, or after its name, `user:jane:r--:1000`. A name alone
means nothing on another machine.
"""

import struct

_ATTRIBUTES = {
    "SCHILY.acl.access": "system.posix_acl_access",
    "SCHILY.acl.default": "system.posix_acl_default",
}
KEYS = frozenset(_ATTRIBUTES)
_TAGS = {"user": (0x01, 0x02), "group": (0x04, 0x08), "mask": (0x10, 0x10), "other": (0x20, 0x20)}
_NOBODY = 0xFFFF_FFFF
_VERSION = 2


def attribute_of(key: str) -> str:
    return _ATTRIBUTES[key]


def parse_acl(text: str) -> bytes:
    """The attribute's value. Raises ValueError."""
    entries = []
    for line in text.replace("\n", ",").split(","):
        entry = line.partition("#")[0].strip()
        if entry:
            entries.append(_parse_entry(entry))
    if not entries:
        raise ValueError("an access control list says nothing")
    return struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries, key=_order))


def _order(entry: tuple[int, int, int]) -> tuple[int, int]:
    """The kernel wants them so."""
    tag, _, number = entry
    return tag, number


def _parse_entry(entry: str) -> tuple[int, int, int]:
    kind, *parts = entry.split(":")
    words = {"u": "user", "g": "group", "m": "mask", "o": "other"}
    tags = _TAGS.get(words.get(kind, kind))
    if tags is None or len(parts) not in (1, 2, 3):
        raise ValueError(f"{entry!r} is no entry of an access control list")
    name, permissions = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    number = parts[2] if len(parts) == 3 else name
    bits = sum(bit for letter, bit in zip("rwx", (4, 2, 1), strict=True) if letter in permissions)
    if set(permissions) - set("rwx-"):
        raise ValueError(f"{entry!r} has permissions that cannot be")
    if not name:
        return tags[0], bits, _NOBODY
    if tags[0] == tags[1] or not (number.isascii() and number.isdigit() and int(number) < _NOBODY):
        raise ValueError(f"{entry!r} names nobody by number")
    return tags[1], bits, int(number)
