"""Trees with something of everything in them, and everything that can be said of a tree, for comparing two."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
# user::rwx, user:54321:r--, group::r-x, mask::r-x, other::--- as the kernel keeps it
ACL = bytes.fromhex("02000000 01000700ffffffff 0200040031d40000 04000500ffffffff 10000500ffffffff 20000000ffffffff")
HOUR_NS = 3600 * 10**9


def write_everything(top: Path, xattrs: bool = True) -> None:
    """Owners, modes, times, attributes, links, devices, holes, names that are no text."""
    top.mkdir(exist_ok=True)
    (top / "dir/deep/er").mkdir(parents=True)
    (top / "dir/file").write_bytes(b"content")
    (top / "dir/setuid").write_bytes(b"program")
    os.chown(top / "dir/setuid", 1000, 70000)
    (top / "dir/setuid").chmod(0o4751)
    (top / "dir/empty").touch(0o600)
    os.link(top / "dir/file", top / "dir/deep/hard")
    os.link(top / "dir/file", top / "second")
    (top / "dir/link").symlink_to("file")
    (top / "dangling").symlink_to("/nowhere/" + "x" * 150)
    os.lchown(top / "dangling", 12, 34)
    os.mkfifo(top / "pipe", 0o620)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "whiteout", stat.S_IFCHR | 0o000, 0)
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    (top / ("long" * 50) / ("name" * 40)).mkdir(parents=True)
    (top / ("long" * 50) / ("name" * 40) / "end").write_bytes(b"1" * 100_000)
    (top / "ümläut \udcff\n").write_bytes(b"odd")
    (top / "-rf").write_bytes(b"option")
    (top / ".wh.hidden").write_bytes(b"a name like any other here")
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o3777)
    write_holes(top / "holes")
    write_holes(top / "all-hole", pieces=0)
    if xattrs:
        os.setxattr(top / "dir/file", "user.note", b"\0binary\n=\xff")
        os.setxattr(top / "dir/setuid", "security.capability", CAPABILITY)
        os.setxattr(top / "dir", "system.posix_acl_default", ACL)
        os.setxattr(top / "dir/empty", "system.posix_acl_access", ACL)
        os.setxattr(top / "sticky", "trusted.overlay.opaque", b"y")
        os.setxattr(top / "dangling", "trusted.link", b"of the link itself", follow_symlinks=False)
    os.chown(top, 42, 43)
    top.chmod(0o2750)
    for number, path in enumerate(sorted([*top.rglob("*"), top], reverse=True)):
        moment = 1_600_000_000_123_456_789 + number * HOUR_NS
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    os.utime(top / "-rf", ns=(-5_500_000_000, -5_500_000_000))  # before 1970


def write_holes(path: Path, pieces: int = 3, size: int = 16 << 20) -> None:
    with path.open("wb") as file:
        for number in range(pieces):
            file.seek((number * 2 + 1) << 20)
            file.write(b"data" * 1024)
        file.truncate(size)


def write_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _below(top: Path) -> Iterator[Path]:
    """Path.rglob of some Pythons follows links, and stumbles over one whose target is too long a name."""
    for folder, directories, files in os.walk(top):
        yield from (Path(folder) / name for name in (*directories, *files))


def describe(top: Path, xattrs: bool = True) -> dict[str, dict[str, Any]]:
    """Everything of each entry, by its path below the top."""
    found: dict[str, dict[str, Any]] = {}
    first_names: dict[tuple[int, int], str] = {}
    for path in sorted([*_below(top), top]):
        details = path.lstat()
        name = str(path.relative_to(top))
        facts: dict[str, Any] = {
            "mode": oct(details.st_mode),
            "owner": (details.st_uid, details.st_gid),
            "mtime": details.st_mtime_ns,
            "device": details.st_rdev,
        }
        if xattrs:
            facts["xattrs"] = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.SGI_")  # how XFS shows ACLs once more
            }
        if not stat.S_ISDIR(details.st_mode):
            facts["links"] = details.st_nlink
            facts["same as"] = first_names.setdefault((details.st_dev, details.st_ino), name)
        if stat.S_ISREG(details.st_mode):
            facts["content"] = path.read_bytes()
            facts["has holes"] = details.st_blocks * 512 < details.st_size
        if stat.S_ISLNK(details.st_mode):
            facts["target"] = str(path.readlink())
        found[name] = facts
    return found
