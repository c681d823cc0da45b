r"""How mounts of Windows containers are written, and where a Windows host keeps its data.

    -v [source:]destination[:ro|:rw]      everything in lower case, / and \ the same

    source        a directory of the host (c:\x, \\?\c:\x), a volume's name, or a named pipe (\\.\pipe\name)
    destination   a drive with or without a path (d:, d:\x, \\?\d:\), not the system's own (c:\); or a pipe

Pure rules: what is at a path of the host, `look` says. Windows containers run on Windows hosts only; nothing on Linux
calls these rules but their tests.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import PureWindowsPath

from orlop.errors import Malformed
from orlop.model.value import dataclass

DATA_ROOT = PureWindowsPath(r"C:\ProgramData\Docker")
VOLUMES = DATA_ROOT / "volumes"
LAYERS = DATA_ROOT / "windowsfilter"


class Found(StrEnum):
    """What is at a path of the host."""

    NOTHING = "nothing"
    DIRECTORY = "directory"
    OTHER = "other"


Look = Callable[[str], Found]


class WindowsMountKind(StrEnum):
    VOLUME = "volume"
    BIND = "bind"
    NAMED_PIPE = "npipe"


@dataclass(frozen=True, slots=True)
class WindowsMount:
    kind: WindowsMountKind
    source: str  # "" for an anonymous volume
    destination: str
    read_only: bool = False
    mode: str = ""
    propagation: str = ""


_PART = r'[^\\/:*?"<>|\r\n]+'
_SLASH = r"[\\/]"
_VERBATIM = r"(?:\\\\\?\\)?"  # \\?\ tells Windows to take the path as it is
_DIRECTORY = rf"{_VERBATIM}[a-z]:{_SLASH}(?:{_PART}{_SLASH})*(?:{_PART})?"
_PIPE = rf'{_SLASH}{{2}}\.{_SLASH}pipe{_SLASH}[^:*?"<>|\r\n]+'
_SOURCE = rf"(?:{_DIRECTORY}|{_PIPE}|{_PART})"
_DESTINATION = rf"(?:{_VERBATIM}[a-z]:(?:{_SLASH}{_PART})*{_SLASH}?|{_PIPE})"

_SPEC = re.compile(rf"(?:(?P<source>{_SOURCE}):)?(?P<destination>{_DESTINATION})(?::(?P<mode>ro|rw))?")
_IS_DIRECTORY = re.compile(_DIRECTORY)
_IS_PIPE = re.compile(_PIPE)
_IS_NAME = re.compile(_PART)
_IS_DESTINATION = re.compile(_DESTINATION)
_RESERVED = re.compile(r"con|prn|nul|aux|(?:com|lpt)[1-9]")


def parse_windows_bind(spec: str, look: Look) -> WindowsMount:
    """Raises Malformed with the whole of `spec` in its text."""
    invalid = f"invalid volume specification: '{spec}'"
    found = _SPEC.fullmatch(spec.lower())
    if found is None:
        raise Malformed("", invalid, "Write [source:]destination[:ro|:rw], the destination with its drive")
    source, destination, mode = (found[name] or "" for name in ("source", "destination", "mode"))
    if mode and not source:
        raise Malformed("", invalid, "A mode needs a source before it")  # "d:\path:rw" could be either
    if not source and look(clean_windows_path(destination)) is Found.OTHER:
        why = f"file '{destination}' cannot be mapped. Only directories can be mapped on this platform"
        raise Malformed("", f"{invalid}: {why}")
    mount = WindowsMount(_kind_of(source, destination), source, destination, mode == "ro", mode)
    try:
        return check_windows_mount(mount, look)
    except Malformed as error:
        raise Malformed("", f"{invalid}: {error.why}", error.hint) from error


def check_windows_mount(mount: WindowsMount, look: Look) -> WindowsMount:
    """The mount with its paths cleaned. Raises Malformed saying what is wrong with it."""
    is_pipe = mount.kind is WindowsMountKind.NAMED_PIPE
    source = mount.source.lower() if mount.kind is WindowsMountKind.VOLUME else clean_windows_path(mount.source)
    destination = clean_windows_path(mount.destination)
    reason = _wrong_destination(destination, is_pipe)
    match mount.kind:
        case WindowsMountKind.BIND:
            reason = reason or _wrong_bind(mount, source, look)
        case WindowsMountKind.VOLUME:
            reason = reason or (wrong_windows_volume_name(source) if source else "")
        case WindowsMountKind.NAMED_PIPE:
            reason = reason or _wrong_pipe(mount, source)
    if reason:
        raise Malformed("", f'invalid mount config for type "{mount.kind}": {reason}')
    return WindowsMount(mount.kind, source, destination, mount.read_only, mount.mode)


def parse_windows_mount_kind(word: str) -> WindowsMountKind:
    """Raises Malformed for what Windows containers have not: tmpfs, images, volumes of a cluster."""
    try:
        return WindowsMountKind(word)
    except ValueError:
        raise Malformed("", f'invalid mount config for type "{word}": mount type unknown') from None


def refuse_windows_tmpfs() -> None:
    raise Malformed("", "windows does not support tmpfs", "Use a volume")


def wrong_windows_volume_name(name: str) -> str:
    """Why it can be no volume's name, "" where it can. Names are folded to lower case before anything is looked up."""
    folded = name.lower()
    if not _IS_NAME.fullmatch(folded):
        return f"volume name '{name}' holds a character that no name on Windows may hold"
    if _RESERVED.fullmatch(folded):
        return f"volume name '{name}' cannot be a reserved word for Windows filenames"
    return ""


def clean_windows_path(path: str) -> str:
    r"""Lower case, with \ for /, without "." and "..", without one at its end but that of a drive's root."""
    slashed = path.lower().replace("/", "\\")
    prefix = ""
    for start in ("\\\\?\\", "\\\\.\\"):
        if slashed.startswith(start):
            prefix, slashed = start, slashed[len(start) :]
    drive = slashed[:2] if slashed[1:2] == ":" else ""
    rest = slashed[len(drive) :]
    parts: list[str] = []
    for part in rest.split("\\"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    root = "\\" if rest.startswith("\\") else ""
    return prefix + drive + root + "\\".join(parts)


def windows_volume_data(name: str) -> PureWindowsPath:
    """Where a volume's bytes are on a Windows host."""
    return VOLUMES / name.lower() / "_data"


def _kind_of(source: str, destination: str) -> WindowsMountKind:
    if _IS_PIPE.fullmatch(source or destination):
        return WindowsMountKind.NAMED_PIPE
    return WindowsMountKind.BIND if _IS_DIRECTORY.fullmatch(source) else WindowsMountKind.VOLUME


def _wrong_destination(destination: str, is_pipe: bool) -> str:
    if not destination:
        return "field Target must not be empty"
    if is_pipe:
        return "" if _IS_PIPE.fullmatch(destination) else f"'{destination}' is not a valid pipe path"
    if destination.removeprefix("\\\\?\\") in ("c:", "c:\\"):
        return "destination path cannot be 'c:' or 'c:\\'"
    if not _IS_DESTINATION.fullmatch(destination) or _IS_PIPE.fullmatch(destination):
        return f"invalid mount path: '{destination}' mount path must be absolute"
    return ""


def _wrong_bind(mount: WindowsMount, source: str, look: Look) -> str:
    if not source:
        return "field Source must not be empty"
    if mount.propagation:
        return f"invalid propagation mode: {mount.propagation}"
    if not _IS_DIRECTORY.fullmatch(source):
        return f"invalid mount path: '{source}' mount path must be absolute"
    match look(source):
        case Found.NOTHING:
            return f"bind source path does not exist: {source}"
        case Found.OTHER:
            return "source path must be a directory"
        case Found.DIRECTORY:
            return ""


def _wrong_pipe(mount: WindowsMount, source: str) -> str:
    if not source:
        return "field Source must not be empty"
    if mount.read_only:
        return "field ReadOnly must not be specified"
    if not _IS_PIPE.fullmatch(source):
        return f"'{source}' is not a valid pipe path"
    return ""
