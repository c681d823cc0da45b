"""Whole file systems: flushing one, naming its kind."""

import ctypes

from orlop.kernel.libc import LIBC, check, encoded

_NAMES = {  # f_type of statfs(2) -> what Docker calls it
    0xEF53: "extfs",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlayfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0x6969: "nfs",
    0x65735546: "fuse",
    0xCA451A4E: "bcachefs",
}


class _Statfs(ctypes.Structure):
    _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_long * 30)]


def syncfs(fd: int) -> None:
    """Everything written so far to the file system that holds `fd` is on disk."""
    check(LIBC.syncfs(fd), "syncfs")


def filesystem_name(path: str) -> str:
    found = _Statfs()
    check(LIBC.statfs(encoded(path), ctypes.byref(found)), "statfs", path)
    return _NAMES.get(found.f_type & 0xFFFFFFFF, f"{found.f_type & 0xFFFFFFFF:#x}")
