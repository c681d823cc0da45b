"""Mounts: mount(2), umount2(2), the calls on descriptors (open_tree, move_mount, mount_setattr), the mount table."""

import ctypes
import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from orlop.kernel.libc import LIBC, SYS_MOUNT_SETATTR, SYS_MOVE_MOUNT, SYS_OPEN_TREE, check, encoded
from orlop.model.value import dataclass

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_IDMAP = 0x00100000

_Target = str | os.PathLike[str]


def mount(source: _Target, target: _Target, fs_type: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). `data` longer than a page is refused by the kernel with EINVAL, whatever the file system."""
    result = LIBC.mount(
        encoded(source),
        encoded(target),
        fs_type.encode() if fs_type else None,
        ctypes.c_ulong(flags),
        os.fsencode(data) if data else None,
    )
    check(result, "mount", target)


def unmount(target: _Target, flags: int = 0) -> None:
    """umount2(2), never following a link at the end of `target`. EINVAL: not a mount point."""
    check(LIBC.umount2(encoded(target), flags | UMOUNT_NOFOLLOW), "umount", target)


def bind(source: _Target, target: _Target, *, recursive: bool = False, read_only: bool = False) -> None:
    """A bind mount. Read-only takes a second call: the kernel ignores every other flag on the first."""
    depth = MS_REC if recursive else 0
    mount(source, target, "", MS_BIND | depth)
    if read_only:
        try:
            mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
        except OSError:
            unmount(target, MNT_DETACH)
            raise


def detach_privately(target: _Target) -> None:
    """Everything mounted at `target` and below goes, and nothing anywhere else does: an unmount reaches the peers of
    what is unmounted from, so that taking down a shared copy would take down what is mounted in the original too.
    Nothing mounted there is success."""
    while True:
        try:
            set_propagation(target, MS_PRIVATE | MS_REC)
            unmount(target, MNT_DETACH)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            return


def set_propagation(target: _Target, flags: int) -> None:
    """MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE, with MS_REC for all below."""
    mount("none", target, "", flags)


def open_tree(directory_fd: int, path: str = "", *, clone: bool = True, recursive: bool = False) -> int:
    """A descriptor of a mount; with `clone` a detached copy that is attached by `move_mount` or gone when closed."""
    flags = os.O_CLOEXEC | (OPEN_TREE_CLONE if clone else 0)
    flags |= AT_RECURSIVE if recursive else 0
    flags |= AT_EMPTY_PATH if not path else 0
    return check(LIBC.syscall(SYS_OPEN_TREE, directory_fd, encoded(path), flags), "open_tree", path)


def move_mount(tree_fd: int, target_fd: int) -> None:
    """Attach a detached tree on the very file or directory that `target_fd` is: no path is looked up again."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    check(LIBC.syscall(SYS_MOVE_MOUNT, tree_fd, b"", target_fd, b"", flags), "move_mount")


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def mount_setattr(
    tree_fd: int,
    *,
    set_flags: int = 0,
    clear_flags: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change a mount's attributes through its descriptor (Linux 5.12)."""
    attributes = _MountAttr(set_flags, clear_flags, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    result = LIBC.syscall(SYS_MOUNT_SETATTR, tree_fd, b"", flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
    check(result, "mount_setattr")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    id: int
    parent_id: int
    device: str  # major:minor
    root: str  # which part of the file system is mounted
    mount_point: str
    options: str
    propagation: tuple[str, ...]  # shared:N, master:N, ...
    fs_type: str
    source: str
    super_options: str


_ESCAPE = re.compile(r"\\([0-7]{3})")


def read_mounts(table: str = "/proc/self/mountinfo") -> list[MountEntry]:
    """The mount table of this process's namespace. Reads the whole file at once: the kernel shows each line whole. A
    line ends with a newline and nothing else: whatever else Python takes for an end may stand in a path."""
    text = Path(table).read_bytes().decode(errors="surrogateescape")
    return [_parse_line(line) for line in text.split("\n") if line]


def _parse_line(line: str) -> MountEntry:
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    fs_type, source, super_options = ([*after.split(" ", 2), "", ""])[:3]
    return MountEntry(
        id=int(fields[0]),
        parent_id=int(fields[1]),
        device=fields[2],
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=fields[5],
        propagation=tuple(fields[6:]),
        fs_type=fs_type,
        source=_unescape(source),
        super_options=super_options,
    )


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)


def spelled(path: _Target) -> str:
    """A path as the table has it: links resolved, except that the last part is taken as it is. It is not looked at
    either: what is mounted there may not answer."""
    whole = os.fspath(path).rstrip("/") or "/"
    parent, name = os.path.split(whole)
    return os.path.realpath(whole) if name in ("", ".", "..") else f"{os.path.realpath(parent).rstrip('/')}/{name}"


def mounts_at_or_below(path: _Target, table: Iterable[MountEntry] | None = None) -> list[MountEntry]:
    """Everything mounted on `path` (as `spelled`) or under it, deepest and latest first."""
    top = spelled(path)
    prefix = top if top.endswith("/") else top + "/"
    if table is None and not _is_in_table(top):
        return []
    entries = read_mounts() if table is None else table
    found = [entry for entry in entries if entry.mount_point == top or entry.mount_point.startswith(prefix)]
    # A table lists mounts in the order they were made, so the reverse takes stacked ones off from the top.
    found.reverse()
    found.sort(key=lambda entry: entry.mount_point.count("/"), reverse=True)
    return found


def has_mounts_below(path: _Target) -> bool:
    """Whether anything is mounted under `path`, whose links are resolved, other than on it."""
    prefix = os.fspath(path).rstrip("/") + "/"
    return _is_in_table(prefix) and any(entry.mount_point.startswith(prefix) for entry in read_mounts())


def mount_of(path: _Target, table: Iterable[MountEntry] | None = None) -> MountEntry:
    """The mount that `path` is in, whose links are resolved."""
    here = os.fspath(path)
    entries = read_mounts() if table is None else table
    above = [e for e in entries if e.mount_point in ("/", here) or here.startswith(e.mount_point + "/")]
    # Of those at one place the last in the table is on top.
    return max(enumerate(above), key=lambda item: (len(item[1].mount_point), item[0]))[1]


def _is_in_table(path: str) -> bool:
    """Whether a line may be about `path`: most often none is, and then none need be taken apart."""
    with open("/proc/self/mountinfo", "rb", buffering=0) as table:  # noqa: PTH123 - a third of the time of Path.open
        return escape(path) in table.readall()


def escape(path: str) -> bytes:
    """A path as the table spells it."""
    raw = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        raw = raw.replace(character, b"\\%03o" % ord(character))
    return raw


def is_mount_point(path: _Target) -> bool:
    top = spelled(path)
    if not _is_in_table(top):
        return False
    return any(entry.mount_point == top for entry in read_mounts())
