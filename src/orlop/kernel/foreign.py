"""Storage that somebody else has to answer for: it may hang, and whoever touches it then hangs with it.

Told from the mount table alone; nothing is touched.
"""

import os
import re
from collections.abc import Iterable

from orlop.kernel.mounts import MountEntry, read_mounts

_TYPES = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p virtiofs vboxsf vmhgfs prl_fs afs ceph coda ncpfs gfs2 ocfs2 glusterfs lustre beegfs "
    "orangefs pvfs2".split()
)

_SOME_FOREIGN = re.compile(rb" - (fuse|" + b"|".join(sorted(map(str.encode, _TYPES))) + rb")")


def is_foreign_type(fs_type: str) -> bool:
    return fs_type in _TYPES or fs_type.partition(".")[0] in ("fuse", "fuseblk")


def foreign_mounts(path: str | os.PathLike[str], table: Iterable[MountEntry] | None = None) -> list[str]:
    """Where the path shows such storage: the mount that it is in, by its spelling, and those below."""
    here = os.path.normpath(path)
    entries = list(read_mounts() if table is None else table)
    above = [e for e in entries if e.mount_point in ("/", here) or here.startswith(e.mount_point + "/")]
    on = max(enumerate(above), key=lambda item: (len(item[1].mount_point), item[0]))[1] if above else None
    shown = [e for e in entries if e is on or e.mount_point.startswith(here.rstrip("/") + "/")]
    return [e.mount_point for e in shown if is_foreign_type(e.fs_type)]


def real_path(path: str | os.PathLike[str]) -> str:
    """The path with its links resolved. One that is in such storage by its spelling is left as it is: looking for links
    there would be looking into it."""
    whole = os.fspath(path)
    with open("/proc/self/mountinfo", "rb", buffering=0) as table:  # noqa: PTH123 - read at once, mostly for nothing
        may_be_foreign = _SOME_FOREIGN.search(table.readall())
    if may_be_foreign:
        inside = [e for e in read_mounts() if e.mount_point != "/" and f"{whole}/".startswith(e.mount_point + "/")]
        if any(is_foreign_type(entry.fs_type) for entry in inside):
            return whole
    return os.path.realpath(whole)
