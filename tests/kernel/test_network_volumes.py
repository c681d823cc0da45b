"""NFS and CIFS: what mount(2) is asked for. Whether a server answers is not ours to try here."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import local_mount
from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import HostFailure, Unavailable
from orlop.kernel import mounts

USE = "1" * 64
RESOLVED = {"nas": "10.0.0.9", "six": "fe80::9"}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    driver = LocalVolumes(tmp_path / "volumes")
    yield driver
    driver.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int, str]]:
    """Source, type, flags and data of each mount, which is not made."""
    calls: list[tuple[str, str, int, str]] = []

    def note(seconds: float, source: str, target: str, fs_type: str, flags: int, data: str) -> None:
        calls.append((source, fs_type, flags, data))

    def look_up(host: str, seconds: float) -> str:
        if host not in RESOLVED and not host[0].isdigit():
            raise OSError("Name or service not known")
        return RESOLVED.get(host, host)

    monkeypatch.setattr(local_mount, "mount_within", note)
    monkeypatch.setattr(local_mount, "resolve", look_up)
    return calls


@pytest.mark.parametrize(
    ("fs_type", "device", "words", "data"),
    [
        ("nfs", ":/export", "addr=nas,rw,nfsvers=4", "addr=10.0.0.9,nfsvers=4"),
        ("nfs", ":/export", "addr=10.1.1.1,rw", "addr=10.1.1.1"),
        ("nfs4", ":/export", "addr=nas", "addr=10.0.0.9"),
        ("nfs4", "nas:/export", "", "addr=10.0.0.9"),
        ("nfs", "six:/export", "vers=3", "vers=3,addr=fe80::9"),
        ("nfs", ":/export", "vers=3", "vers=3"),
        ("cifs", "//nas/a share", "username=u,password=p", "username=u,password=p,addr=10.0.0.9"),
        ("cifs", "//nas/s", "addr=10.1.1.1,password=a,,b", "addr=10.1.1.1,password=a,,b"),
        ("davfs", "https://nas/x", "addr=nas", "addr=nas"),
    ],
)
def test_the_kernel_gets_an_address_and_the_words_that_are_not_flags(
    driver: LocalVolumes, asked: list[tuple[str, str, int, str]], fs_type: str, device: str, words: str, data: str
) -> None:
    driver.create("share", {"type": fs_type, "device": device, "o": words}, "")
    driver.attach("share", USE)
    assert asked == [(device, fs_type, 0, data)]


def test_flags_are_flags(driver: LocalVolumes, asked: list[tuple[str, str, int, str]]) -> None:
    driver.create("share", {"type": "nfs", "device": "nas:/x", "o": "ro,noexec,nosuid,soft,noatime"}, "")
    driver.attach("share", USE)
    flags = mounts.MS_RDONLY | mounts.MS_NOEXEC | mounts.MS_NOSUID | mounts.MS_NOATIME
    assert asked == [("nas:/x", "nfs", flags, "soft,addr=10.0.0.9")]


def test_the_name_is_looked_up_at_each_mount(
    driver: LocalVolumes, asked: list[tuple[str, str, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.create("share", {"type": "nfs", "device": "nas:/x"}, "")
    driver.attach("share", USE)
    driver.detach("share", USE)
    monkeypatch.setitem(RESOLVED, "nas", "10.0.0.10")
    driver.attach("share", USE)
    assert [call[3] for call in asked] == ["addr=10.0.0.9", "addr=10.0.0.10"]


def test_a_name_that_nobody_knows_fails_the_mount_and_leaves_nothing(
    driver: LocalVolumes, asked: list[tuple[str, str, int, str]]
) -> None:
    driver.create("share", {"type": "nfs4", "device": ":/x", "o": "addr=nowhere"}, "")
    with pytest.raises(HostFailure, match="error resolving passed in network volume address: nowhere: Name or service"):
        driver.attach("share", USE)
    assert asked == []
    assert sorted(entry.name for entry in (driver.root / "share").iterdir()) == ["_data", "opts.json", "orlop.json"]


def test_a_name_server_that_is_silent_is_given_up(driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(host: str, seconds: float) -> str:
        raise TimeoutError(f"no answer within {seconds:g} s")

    monkeypatch.setattr(local_mount, "resolve", silence)
    driver.create("share", {"type": "nfs", "device": "nas:/x"}, "")
    with pytest.raises(Unavailable, match="network volume address: nas: no answer within"):
        driver.attach("share", USE)


def test_a_name_that_cannot_be_looked_up_now_is_waited_for(
    driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    driver.create("share", {"type": "nfs", "device": "nas:/x"}, "")
    with pytest.raises(Unavailable, match="nas: Temporary failure in name resolution"):
        driver.attach("share", USE)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH])
def test_a_server_that_is_away_is_waited_for(
    driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(local_mount, "mount_within", refuse)
    driver.create("share", {"type": "nfs", "device": "10.0.0.9:/x"}, "")
    with pytest.raises(Unavailable, match=os.strerror(number).lower()):
        driver.attach("share", USE)


def test_a_server_that_is_silent_is_given_up(driver: LocalVolumes, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(*arguments: object) -> None:
        raise TimeoutError(110, "no answer within 30 s")

    monkeypatch.setattr(local_mount, "mount_within", silence)
    monkeypatch.setattr(local_mount, "resolve", lambda host, seconds: "10.0.0.9")
    driver.create("share", {"type": "cifs", "device": "//nas/x", "o": "password=hush"}, "")
    with pytest.raises(Unavailable) as refused:
        driver.attach("share", USE)
    assert "no answer within 30 s" in refused.value.message and "hush" not in refused.value.message
    driver.retire("share", "a" * 64, "")


def test_a_password_may_stand_in_a_file_of_the_host(
    driver: LocalVolumes, asked: list[tuple[str, str, int, str]], tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_text("username=me\npassword=hush\n")
    driver.create("share", {"type": "cifs", "device": "//nas/x", "o": f"credentials={file},uid=5"}, "")
    driver.attach("share", USE)
    assert asked == [("//nas/x", "cifs", 0, "uid=5,username=me,password=hush,addr=10.0.0.9")]
    assert "hush" not in (driver.root / "share" / "opts.json").read_text()
    driver.detach("share", USE)
    file.unlink()
    with pytest.raises(HostFailure, match=f"its file of credentials {file}: No such file or directory"):
        driver.attach("share", USE)
