"""The words of `o`: flags of mount(2), data of the file system, the address that the kernel wants."""

import pytest

from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_words import (
    MountWords,
    credentials_file,
    host_to_resolve,
    owner_words,
    parse_mount_words,
    remount_flags,
    with_address,
    with_credentials,
)
from orlop.kernel import mounts
from orlop.kernel.mounts import MountEntry


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", MountWords()),
        ("defaults", MountWords()),
        ("ro,size=1m,uid=5", MountWords(mounts.MS_RDONLY, 0, "size=1m,uid=5")),
        ("ro,rw", MountWords(0, mounts.MS_RDONLY)),
        ("rw,ro", MountWords(mounts.MS_RDONLY, 0)),
        ("rbind,rslave", MountWords(mounts.MS_BIND | mounts.MS_REC, 0, "", mounts.MS_SLAVE | mounts.MS_REC)),
        ("username=u,password=a,,b,ro", MountWords(mounts.MS_RDONLY, 0, "username=u,password=a,,b")),
        ("_netdev,nofail,x-systemd.automount,vers=4,comment=y", MountWords(0, 0, "vers=4")),
        ("loop,ro", MountWords(mounts.MS_RDONLY, 0, "", 0, True)),
        ("remount", MountWords(0, 0, "remount")),
    ],
)
def test_words_are_read_as_in_fstab(words: str, expected: MountWords) -> None:
    assert parse_mount_words(words) == expected


@pytest.mark.parametrize(
    ("fs_type", "device", "words", "host"),
    [
        ("nfs", ":/export", "addr=nas,rw", "nas"),
        ("nfs4", ":/export", "rw,addr=nas", "nas"),
        ("nfs", "nas:/export", "rw", "nas"),
        ("nfs4", "[fe80::1]:/export", "", "fe80::1"),
        ("nfs", ":/export", "", ""),
        ("nfs", "/export", "", ""),
        ("nfs", "nas:/export", "addr=other", "other"),
        ("cifs", "//nas/a share", "username=u", "nas"),
        ("cifs", "//nas/share", "addr=10.0.0.1", "10.0.0.1"),
        ("smb3", "//nas/share", "", "nas"),
        ("tmpfs", "nas:/export", "addr=nas", ""),
        ("none", "//nas/share", "bind", ""),
    ],
)
def test_the_host_whose_address_is_wanted(fs_type: str, device: str, words: str, host: str) -> None:
    assert host_to_resolve(MountOptions(fs_type, device, words)) == host


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "addr=10.0.0.1"),
        ("rw", "rw,addr=10.0.0.1"),
        ("addr=nas,rw", "addr=10.0.0.1,rw"),
        ("rw,addr=nas,addr=other", "rw,addr=10.0.0.1,addr=other"),
        ("clientaddr=x,rw", "clientaddr=x,rw,addr=10.0.0.1"),
    ],
)
def test_the_first_address_is_the_one_that_counts(words: str, expected: str) -> None:
    assert with_address(words, "10.0.0.1") == expected


def test_memory_gets_its_owner_as_words() -> None:
    assert owner_words(MountOptions("tmpfs", "tmpfs", "", uid=5, gid=6, mode=0o1770)) == "uid=5,gid=6,mode=1770"
    assert owner_words(MountOptions("tmpfs", "tmpfs", "", mode=0)) == "mode=0"
    assert owner_words(MountOptions("ext4", "/dev/x", "", uid=5)) == ""


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("bind,ro", mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_RELATIME),
        ("bind,suid", mounts.MS_RELATIME),
        ("bind,ro,noatime", mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NOATIME),
    ],
)
def test_a_remount_names_again_what_is_to_stay(words: str, flags: int) -> None:
    entry = MountEntry(1, 0, "0:1", "/", "/x", "rw,nosuid,relatime", (), "ext4", "/dev/x", "rw")
    assert remount_flags(parse_mount_words(words), entry) == flags


@pytest.mark.parametrize(
    ("fs_type", "words", "file"),
    [
        ("cifs", "credentials=/etc/smb,uid=5", "/etc/smb"),
        ("smb3", "cred=/etc/smb", "/etc/smb"),
        ("cifs", "username=u", ""),
        ("nfs", "credentials=/etc/smb", ""),
    ],
)
def test_the_file_that_the_password_stands_in(fs_type: str, words: str, file: str) -> None:
    assert credentials_file(MountOptions(fs_type, "//nas/x", words)) == file


def test_what_stands_in_that_file_takes_its_place() -> None:
    text = "username=me\npassword=a,b=c\n# remark\ndomain=HOME\nother=x\n"
    assert with_credentials("credentials=/etc/smb,uid=5", text) == "uid=5,username=me,password=a,,b=c,domain=HOME"
