"""Names in archives: what they mean as paths beneath a root, and which are whiteouts. Pure.

A leading "/" is dropped, as tar and Docker do: the name is taken beneath the root anyway. ".." is refused wherever it
stands; no archiver writes it, and what it means depends on links.
"""

from enum import StrEnum

from orlop.model.value import dataclass

WHITEOUT_PREFIX = ".wh."
_METADATA = ".wh..wh."  # aufs' own bookkeeping
_OPAQUE = ".wh..wh..opq"
_LONGEST = 4095  # PATH_MAX without the zero byte


def split_name(name: str) -> list[str]:
    """The parts of a path beneath the root, [] for the root itself. Raises ValueError."""
    if len(name) > _LONGEST:
        raise ValueError("its name is too long")
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts:
        raise ValueError("its path leaves the root by '..'")
    return parts


def split_link_target(name: str) -> list[str]:
    """The same for the member that a hard link names."""
    try:
        parts = split_name(name)
    except ValueError as error:
        raise ValueError(f"it is a hard link to {name!r}, which leaves the root") from error
    if not parts:
        raise ValueError("it is a hard link to the root")
    return parts


class WhiteoutKind(StrEnum):
    HIDE = "hide"  # NAME of the layers below is gone
    OPAQUE = "opaque"  # everything of the layers below in this directory is gone
    METADATA = "metadata"  # to be ignored


@dataclass(frozen=True, slots=True)
class Whiteout:
    kind: WhiteoutKind
    name: str = ""  # what is hidden


def parse_whiteout(parts: list[str]) -> Whiteout | None:
    """Whether a layer's member is a whiteout. Raises ValueError for one that would hide its own directory or a
    parent, and for a member below a whiteout."""
    for part in parts:
        if part.startswith(WHITEOUT_PREFIX):
            break
    else:
        return None
    if any(part.startswith(_METADATA) and part != _OPAQUE for part in parts):
        return Whiteout(WhiteoutKind.METADATA)
    if any(part.startswith(WHITEOUT_PREFIX) for part in parts[:-1]):
        raise ValueError("its directory is a whiteout")
    if parts[-1] == _OPAQUE:
        return Whiteout(WhiteoutKind.OPAQUE)
    hidden = parts[-1].removeprefix(WHITEOUT_PREFIX)
    if hidden in ("", ".", ".."):
        raise ValueError("it is a whiteout of nothing, of its own directory or of the parent")
    return Whiteout(WhiteoutKind.HIDE, hidden)


def whiteout_name(name: str) -> str:
    return WHITEOUT_PREFIX + name


OPAQUE_NAME = _OPAQUE
