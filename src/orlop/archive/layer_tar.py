"""A layer's tar into its directory, in one go: unpacked, hashed, and its recipe written."""

import os
from pathlib import Path

from orlop.archive.compression import Compression, Progress, decompress, detect
from orlop.archive.digest import ViewSha256
from orlop.archive.reader import TarReader
from orlop.archive.recipe import write_recipe
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Options, Unpacked, Whiteouts, unpack
from orlop.errors import HostFailure
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class LayerTar:
    diff_id: str  # sha256 of the plain tar, "sha256:<hex>"
    size_bytes: int
    tar_bytes: int
    hides_everything_below: bool
    lost_xattrs: tuple[str, ...]
    implied: tuple[str, ...]  # paths of directories that the tar does not describe
    whiteouts: tuple[str, ...]  # paths of overlayfs' marks


def apply_layer(
    source: ArchiveSource,
    target: Path,
    recipe: Path,
    scratch: Path,
    whiteouts: Whiteouts,
    progress: Progress | None = None,
) -> LayerTar:
    """`target` exists; `scratch` is where the plain bytes of a packed archive may lie meanwhile. Raises Malformed for
    the archive, HostFailure for the disk; what `target` holds then is the caller's to remove."""
    try:
        if detect(source) is Compression.NONE:
            return _apply_plain(source, target, recipe, whiteouts, progress, "")
        try:
            digest = decompress(source, scratch, progress)
            return _apply_plain(ArchiveSource(scratch), target, recipe, whiteouts, None, digest)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise HostFailure("unpacking a layer", error.strerror or str(error), _hint(error)) from error


def _hint(error: OSError) -> str:
    return f"Path: {error.filename}" if error.filename else ""


def _apply_plain(
    source: ArchiveSource, target: Path, recipe: Path, whiteouts: Whiteouts, progress: Progress | None, digest: str
) -> LayerTar:
    target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with TarReader(source, "layer") as archive:
            if digest:
                unpacked = unpack(archive, target_fd, Options(whiteouts), progress, "layer")
            else:
                with ViewSha256(archive.raw(0, archive.size_bytes)) as sha256:
                    unpacked = unpack(archive, target_fd, Options(whiteouts), progress, "layer")
                    digest = sha256.result()
            write_recipe(recipe, archive, unpacked.files, digest)
            return _result(digest, archive.size_bytes, unpacked)
    finally:
        os.close(target_fd)


def _result(digest: str, tar_bytes: int, unpacked: Unpacked) -> LayerTar:
    return LayerTar(
        diff_id=digest,
        size_bytes=unpacked.size_bytes,
        tar_bytes=tar_bytes,
        hides_everything_below=unpacked.hides_everything_below,
        lost_xattrs=tuple(sorted(unpacked.lost_xattrs)),
        implied=tuple(unpacked.implied),
        whiteouts=tuple(unpacked.whiteouts),
    )
