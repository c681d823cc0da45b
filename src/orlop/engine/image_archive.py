"""An archive of images, as `docker save` and other tools write it: read in place, never unpacked, never trusted.

Members are found by name the way a file system would find them if the archive were unpacked: links are followed
inside the archive (older archives share layers by them) and none may lead out of it. What is read is checked against
the digest and the size it was promised with.
"""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orlop.archive.compression import Compression, decompress, detect
from orlop.archive.member import Member, MemberKind
from orlop.archive.reader import TarReader
from orlop.archive.source import ArchiveSource
from orlop.errors import HostFailure, Malformed
from orlop.model.image_config import ConfigFile
from orlop.model.reference import is_digest
from orlop.model.value import dataclass

MAX_JSON_BYTES = 4 << 20  # of an index, a manifest or a configuration; the largest seen are a hundredth of it
MAX_ALL_JSON_BYTES = 64 << 20  # of all that is read, counted again for each image that leads to it
MAX_MEMBERS = 100_000
_MAX_LINKS = 40  # as the kernel's ELOOP
_LINKS = (MemberKind.SYMLINK, MemberKind.HARD_LINK)


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An image found in an archive, its configuration verified and its layers located."""

    id: str
    raw_config: str
    file: ConfigFile
    layers: tuple[ArchiveSource, ...]  # as many as diff ids
    references: tuple[str, ...]  # familiar and complete


@contextmanager
def plain_archive(path: Path, scratch: Path) -> Iterator[Path]:
    """An archive that is compressed as a whole is unpacked to `scratch`, which is gone afterwards."""
    try:
        if detect(path) is not Compression.NONE:
            decompress(path, scratch, hashed=False)
            path = scratch
        yield path
    except OSError as error:
        hint = "Free some space on that disk and try again" if error.errno == errno.ENOSPC else ""
        raise HostFailure(f"reading {path}", error.strerror or str(error), hint) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def open_image_archive(path: Path) -> Iterator["ImageArchive"]:
    with TarReader(path, "image archive") as reader:
        yield ImageArchive(path, reader)


class ImageArchive:
    def __init__(self, path: Path, reader: TarReader) -> None:
        self._path = path
        self._reader = reader
        self._members: dict[str, Member] = {}
        self._ambiguous: set[str] = set()
        self._verified: set[str] = set()  # digests of large blobs, which several images may share
        self._json_bytes = 0
        for count, member in enumerate(reader):
            if count >= MAX_MEMBERS:
                raise Malformed("image archive", f"it has more than {MAX_MEMBERS} members")
            name = "/".join(_parts(member.name, member.name))
            if name in self._members and not self._members[name].kind is member.kind is MemberKind.DIRECTORY:
                self._ambiguous.add(name)
            self._members[name] = member

    def has(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """The bytes of a small file. Raises Malformed when it is missing or not small."""
        member = self._find(name)
        if member.stored_bytes > MAX_JSON_BYTES:
            raise Malformed(name, f"it has {member.stored_bytes} bytes, the limit is {MAX_JSON_BYTES}")
        self._json_bytes += member.stored_bytes
        if self._json_bytes > MAX_ALL_JSON_BYTES:
            raise Malformed("image archive", f"its descriptions of images exceed {MAX_ALL_JSON_BYTES} bytes")
        return bytes(self._reader.data(member))

    def read_blob(self, digest: str, size_bytes: int, what: str) -> bytes:
        """A small blob of an OCI layout, checked."""
        name = blob_name(digest, what)
        data = self.read(name)
        _check_size(name, len(data), size_bytes)
        _check_digest(name, hashlib.sha256(data).hexdigest(), digest)
        return data

    def locate(self, name: str) -> ArchiveSource:
        """Where the member's bytes are, for the layer driver."""
        member = self._find(name)
        return ArchiveSource(self._path, member.data_offset, member.stored_bytes)

    def locate_blob(self, digest: str, size_bytes: int | None, what: str, known_by: str = "") -> ArchiveSource:
        """A large blob of an OCI layout, of that size if one was promised. It is hashed here unless `known_by` says
        that whoever unpacks it will check what the digest promises: that of a plain layer is its diff id."""
        name = blob_name(digest, what)
        member = self._find(name)
        if size_bytes is not None:
            _check_size(name, member.stored_bytes, size_bytes)
        if digest != known_by and digest not in self._verified:
            _check_digest(name, hashlib.sha256(self._reader.data(member)).hexdigest(), digest)
            self._verified.add(digest)
        return ArchiveSource(self._path, member.data_offset, member.stored_bytes)

    def _find(self, name: str) -> Member:
        """The regular file of that name, links followed."""
        found = self._follow(name)
        member = self._members.get(found)
        if member is None:
            raise Malformed("image archive", f"{name} is missing")
        if found in self._ambiguous:
            raise Malformed("image archive", f"{found} is in it twice")
        if member.kind is not MemberKind.FILE:
            raise Malformed("image archive", f"{name} is a {member.kind}, not a file")
        if member.segments is not None:
            raise Malformed("image archive", f"{name} is stored as a sparse file", "Pack the archive without --sparse")
        return member

    def _follow(self, name: str) -> str:
        waiting = _parts(name, name)[::-1]
        path: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                if not path:
                    raise Malformed("image archive", f"{name} leads out of the archive")
                path.pop()
                continue
            path.append(part)
            member = self._members.get("/".join(path))
            if member is None or member.kind not in _LINKS:
                continue
            links += 1
            if links > _MAX_LINKS:
                raise Malformed("image archive", f"{name} is a link that leads in a circle")
            if member.link_name.startswith("/") or not member.link_name:
                raise Malformed("image archive", f"{name} is a link to {member.link_name!r}, out of the archive")
            path = [] if member.kind is MemberKind.HARD_LINK else path[:-1]
            waiting += [part for part in member.link_name.split("/") if part not in ("", ".")][::-1]
        return "/".join(path)


def blob_name(digest: str, what: str) -> str:
    """Raises Malformed: the digest becomes a path, and only this form is safe and supported."""
    if not is_digest(digest):
        raise Malformed(what, f"{digest!r} is not a digest of the form sha256:<64 hexadecimal digits>")
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _parts(name: str, shown: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Malformed("image archive", f"{shown!r} leads out of the archive")
    return parts


def _check_size(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise Malformed(name, f"it has {found} bytes, its descriptor says {wanted}")


def _check_digest(name: str, found: str, wanted: str) -> None:
    if found != wanted.removeprefix("sha256:"):
        raise Malformed(name, f"its content has the digest sha256:{found}, not {wanted}")
