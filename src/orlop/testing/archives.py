"""Tars for tests: sound ones from a few words, and hostile ones, each with the reason for which it must be refused."""

import io
import tarfile

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class TestMember:
    __test__ = False

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_600_000_000
    link: str = ""
    device: tuple[int, int] = (0, 0)
    pax: tuple[tuple[str, str], ...] = ()


def file(name: str, data: bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0) -> TestMember:
    return TestMember(name, data, mode=mode, uid=uid, gid=gid, mtime=mtime or 1_600_000_000)


def directory(name: str, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = 0) -> TestMember:
    return TestMember(name, kind=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid, mtime=mtime or 1_600_000_000)


def symlink(name: str, target: str) -> TestMember:
    return TestMember(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)


def hard_link(name: str, target: str) -> TestMember:
    return TestMember(name, kind=tarfile.LNKTYPE, link=target)


def whiteout(path: str) -> TestMember:
    """Hides `path` of the layers below."""
    parent, slash, name = path.rpartition("/")
    return TestMember(f"{parent}{slash}.wh.{name}")


def opaque(path: str) -> TestMember:
    """Hides everything of the layers below in the directory `path`."""
    return TestMember(f"{path}/.wh..wh..opq")


def make_tar(*members: TestMember, format: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.mode, info.uid, info.gid = member.kind, member.mode, member.uid, member.gid
            info.mtime, info.linkname, info.size = member.mtime, member.link, len(member.data)
            info.devmajor, info.devminor = member.device
            info.pax_headers = dict(member.pax)
            tar.addfile(info, io.BytesIO(member.data))
    return made.getvalue()


def hostile_layers() -> dict[str, bytes]:
    """What it tries -> a layer's tar that must be refused as Malformed, leaving nothing outside its root."""
    good = make_tar(file("a", b"x" * 2000), file("b", b"y" * 2000))
    checksum = bytearray(good)
    checksum[3] ^= 1
    size = bytearray(good)
    size[124:136] = b"\xff" * 12
    size[148:156] = b"%06o\0 " % (sum(size[:512]) - sum(size[148:156]) + 256)
    return {
        "a path that goes up": make_tar(file("../escaped", b"x")),
        "a path that goes up in the middle": make_tar(directory("d"), file("d/../../escaped", b"x")),
        "a directory that is the parent": make_tar(directory("..")),
        "a hard link that goes up": make_tar(hard_link("h", "../../etc/passwd")),
        "a hard link out by an absolute path that goes up": make_tar(hard_link("h", "/../etc/passwd")),
        "a hard link to what is not in the archive": make_tar(hard_link("h", "etc/passwd")),
        "a hard link through a symbolic link out": make_tar(symlink("out", "/etc"), hard_link("h", "out/passwd")),
        "a file through a symbolic link out": make_tar(symlink("out", "/no-such-directory"), file("out/escaped", b"x")),
        "a file through a relative link out": make_tar(symlink("out", "../../../.."), file("out/no-such/x/../e", b"x")),
        "a file through a link to itself": make_tar(symlink("loop", "loop"), file("loop/escaped", b"x")),
        "a whiteout of nothing": make_tar(TestMember(".wh.")),
        "a whiteout of its own directory": make_tar(TestMember("d/.wh..")),
        "a whiteout of the parent": make_tar(TestMember("d/.wh...")),
        "a file below a whiteout": make_tar(TestMember("d/.wh.x/y", b"x")),
        "a directory below a file": make_tar(file("a", b"x"), file("a/b", b"y")),
        "a name longer than the kernel takes": make_tar(file("n" * 300, b"x")),
        "a path longer than the kernel takes": make_tar(file("n/" * 3000, b"")),
        "a cut inside a file": good[:1500],
        "a cut inside a header": good[:300],
        "a wrong checksum": bytes(checksum),
        "a negative size": bytes(size),
        "no tar at all": b"#!/bin/sh\nrm -rf /\n" * 100,
        "a device number that cannot be": make_tar(
            TestMember("dev", kind=tarfile.CHRTYPE, device=(0o7777777, 0o7777777))
        ),
    }
