"""Which names a volume may have: one that is a directory of this host, whatever its driver, and one of a plugin's.

Pure; the texts are Docker's."""

import re

from orlop.errors import Malformed

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LONGEST = 255  # what a directory entry can hold


def check_name(name: str, doing: str = "create") -> None:
    subject = f"{doing} {name}"
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


def check_name_of_plugins(name: str) -> None:
    """Any name but one that would lead a plugin out of its directory, should it take it for a path."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        why = f'"{name}" is no name for a volume: it may contain "/", but neither "..", "." nor nothing between them'
        raise Malformed(f"create {name}", why)
