"""The calls behind project quota: their arguments, and what a kernel without them says."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

import pytest

from orlop.kernel import project_quota
from orlop.kernel.project_quota import KernelProjectQuota, ProjectUsage


class Library:
    """Plays quotactl_fd(2); remembers how it was called."""

    def __init__(self, *answers: int) -> None:
        self.calls: list[tuple[int, int, int, int]] = []
        self.record: bytes = b""
        self.answers = list(answers)

    def syscall(self, number: int, fd: int, command: int, project: int, record: object) -> int:
        self.calls.append((number, fd, command, project))
        found = record._obj  # type: ignore[attr-defined]
        self.record = bytes(found)
        if command >> 8 == 0x800007:
            found.used_bytes, found.used_inodes, found.hard_blocks, found.hard_inodes = 5000, 3, 4096, 10
        return self.answers.pop(0) if self.answers else 0


def test_reading_asks_for_the_projects_record(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(project_quota, "LIBC", library)
    assert KernelProjectQuota().usage(7, 42) == ProjectUsage(5000, 3, 4096 * 1024, 10)
    assert library.calls == [(443, 7, 0x80000702, 42)]


def test_limiting_sets_hard_and_soft_limits_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(project_quota, "LIBC", library)
    KernelProjectQuota().limit(7, 42, 10 * 1024 + 1, 100)
    assert library.calls == [(443, 7, 0x80000802, 42)]
    assert struct.unpack("=8QI4x", library.record) == (11, 11, 0, 100, 100, 0, 0, 0, 5)


def test_a_number_nobody_ever_had_is_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(Library):
        def syscall(self, *arguments: object) -> int:  # type: ignore[override]
            ctypes.set_errno(2)
            return -1

    monkeypatch.setattr(project_quota, "LIBC", Empty())
    assert KernelProjectQuota().usage(7, 42) == ProjectUsage(0, 0, 0, 0)


def test_assigning_keeps_the_other_attributes_and_lets_directories_hand_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, bytes]] = []

    def ioctl(fd: int, number: int, argument: bytes) -> bytes:
        calls.append((number, argument))
        return struct.pack("=5I8x", 0x40, 1, 2, 0, 3)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    (tmp_path / "file").touch()
    for path, flags in ((tmp_path, 0x240), (tmp_path / "file", 0x40)):
        calls.clear()
        fd = os.open(path, os.O_RDONLY)
        KernelProjectQuota().assign(fd, 42)
        os.close(fd)
        assert [number for number, _ in calls] == [0x801C581F, 0x401C5820]
        assert struct.unpack("=5I8x", calls[1][1]) == (flags, 1, 2, 42, 3)


def test_where_there_is_none_it_is_told_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert not KernelProjectQuota().is_enforced(fd)
        with pytest.raises(OSError, match="quotactl_fd"):
            KernelProjectQuota().usage(fd, 42)
    finally:
        os.close(fd)
    assert capfd.readouterr() == ("", "")
