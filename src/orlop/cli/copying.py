"""`cp`: what goes where, and the tar that carries it.

Docker's rules, the same in both directions: a directory that exists takes the source under its own name; a path that
does not exist takes its place, if the directory above exists; `DIR/.` means what is in it. Packing and unpacking is
GNU tar's work: it is several times as fast as Python's, and it never writes through a symbolic link that it made.
"""

import json
import os
import re
import stat
import subprocess
import sys
from binascii import a2b_base64
from pathlib import Path
from typing import Any

from orlop.cli.app import App
from orlop.cli.progress import Progress
from orlop.client.api import Query, quote
from orlop.client.errors import ApiError, ClientError
from orlop.model.value import dataclass

_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27  # bits of the mode as the API gives it: Go's


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds files and has archive calls: containers, volumes."""

    word: str
    archive: str  # path of its archive calls
    itself: str  # path that says whether there is one


CONTAINER = Holder("container", "/containers/{}/archive", "/containers/{}/json")
VOLUME = Holder("volume", "/orlop/v1/volumes/{}/archive", "/volumes/{}")


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a copy: a path here, or in a container or volume (named `container` in both cases)."""

    container: str
    path: str

    @property
    def wants_directory(self) -> bool:
        return self.path.endswith(("/", "/.")) or self.path == "."

    @property
    def means_content(self) -> bool:
        return self.path.endswith("/.") or self.path == "."


def parse_place(text: str) -> Place:
    """`CONTAINER:PATH`, or a path here: with a slash or a dot in front, or without a colon."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or not container:
        return Place("", text)
    if not path:
        raise ClientError(f"{text!r}: the path is missing")
    return Place(container, path)


class Copy:
    """The options of one `cp`."""

    def __init__(self, app: App, archive: bool, follow_link: bool, quiet: bool, holder: Holder = CONTAINER) -> None:
        self._app = app
        self._holder = holder
        self._archive = archive
        self._follow_link = follow_link
        self._quiet = quiet

    def into_container(self, source: str, target: Place) -> None:
        """A file, a directory, or with "-" a tar archive from standard input."""
        if source == "-":
            self._put(target, target.path, sys.stdin.buffer)
            return
        origin = os.path.realpath(source) if self._follow_link else source
        try:
            is_directory = stat.S_ISDIR(os.lstat(origin).st_mode)
        except OSError as error:
            raise ClientError(f"{source}: {error.strerror}") from error
        into, name = self._find_target(target, Place("", source), is_directory)
        base = "." if Place("", source).means_content else _base_name(origin)
        above = origin if base == "." else str(Path(os.path.abspath(origin)).parent)  # noqa: PTH100 (links stay)
        command = ["tar", "-c", "--numeric-owner", "--sparse", *_renaming(base, name), "-C", above, "--", _safe(base)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as tar:
            assert tar.stdout is not None
            try:
                self._put(target, into, tar.stdout)
            except BaseException:
                tar.kill()
                raise
            tar.stdout.close()
            if tar.wait() != 0:
                raise ClientError(f"{source}: not all of it could be read, see above")

    def out_of_container(self, source: Place, target: str) -> None:
        """To a file or directory here, or with "-" as a tar archive to standard output."""
        path = source.path
        facts = self._stat(source, path)
        if facts is None:
            raise ClientError(f"there is no {path} in {self._holder.word} {source.container}")
        if self._follow_link and facts["mode"] & _GO_SYMLINK:
            path = _link_target(path, facts)
            facts = self._stat(source, path) or facts
        if target == "-":
            if os.isatty(1):
                raise ClientError("an archive is not for a terminal: redirect the output")
            self._get(source, path, sys.stdout.buffer)
            return
        into, name = _local_target(target, source, bool(facts["mode"] & _GO_DIRECTORY))
        base = "." if source.means_content else str(facts["name"])
        owners = "--same-owner" if self._archive else "--no-same-owner"
        command = ["tar", "-x", "-p", "--numeric-owner", owners, *_renaming(base, name), "-C", into]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as tar:
            assert tar.stdin is not None
            try:
                self._get(source, path, tar.stdin)
                tar.stdin.close()
            except BrokenPipeError:
                pass  # tar says why
            except BaseException:
                tar.kill()
                raise
            if tar.wait() != 0:
                raise ClientError(f"{target}: not all of it could be written, see above")

    def _find_target(self, target: Place, source: Place, is_directory: bool) -> tuple[str, str]:
        """(the directory in the container to unpack in, the name that the source gets there)."""
        path = target.path
        facts = self._stat(target, path)
        if facts is not None and facts["mode"] & _GO_SYMLINK:
            path = _link_target(path, facts)
            facts = self._stat(target, path)
        own_name = "." if source.means_content else _base_name(source.path)
        if facts is not None and facts["mode"] & _GO_DIRECTORY:
            return path, own_name
        _check(target, facts is not None, is_directory)
        above, _, name = path.rstrip("/").rpartition("/")
        return above or "/", name

    def _put(self, target: Place, into: str, source: Any) -> None:
        query: Query = {"path": into, "noOverwriteDirNonDir": True, "copyUIDGID": self._archive}
        with Progress(f"copying to {target.container}", quiet=self._quiet) as progress:
            self._app.api.upload("PUT", self._archive_of(target), query, source, None, progress.advance).read()

    def _get(self, source: Place, path: str, output: Any) -> None:
        response = self._app.api.stream("GET", self._archive_of(source), {"path": path})
        with Progress(f"copying from {source.container}", quiet=self._quiet) as progress:
            for piece in response.pieces():
                output.write(piece)
                progress.advance(len(piece))
            output.flush()

    def _archive_of(self, place: Place) -> str:
        return self._holder.archive.format(quote(place.container))

    def _stat(self, place: Place, path: str) -> dict[str, Any] | None:
        """The API's facts about a path in a container, None where there is none."""
        try:
            response = self._app.api.stream("HEAD", self._archive_of(place), {"path": path})
        except ApiError as error:
            if error.status != 404:
                # An answer to HEAD has no room for the reason; the same question has.
                self._app.api.stream("GET", self._archive_of(place), {"path": path})
                raise
            self._app.api.get(self._holder.itself.format(quote(place.container)))  # raises when that is what is missing
            return None
        facts: dict[str, Any] = json.loads(a2b_base64(response.headers["x-docker-container-path-stat"]))
        return facts


def _local_target(target: str, source: Place, is_directory: bool) -> tuple[str, str]:
    own_name = "." if source.means_content else _base_name(source.path)
    if os.path.isdir(target):  # noqa: PTH112 (a trailing slash matters)
        return target, own_name
    _check(Place("", target), os.path.lexists(target), is_directory)
    absolute = Path(os.path.abspath(target))  # noqa: PTH100 (links stay)
    if not absolute.parent.is_dir():
        raise ClientError(f"{absolute.parent}: no such directory")
    if own_name == ".":
        absolute.mkdir()
        return str(absolute), "."
    return str(absolute.parent), absolute.name


def _check(target: Place, exists: bool, source_is_directory: bool) -> None:
    """The target is no directory: may the source take its place?"""
    if exists and source_is_directory:
        raise ClientError(f"cannot copy a directory over {target.path}, which is none")
    if target.wants_directory and (exists or not source_is_directory):
        raise ClientError(f"{target.path} is not a directory" if exists else f"there is no directory {target.path}")


def _link_target(path: str, facts: dict[str, Any]) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path.rstrip("/")), facts["linkTarget"]))  # noqa: PTH118, PTH120


def _base_name(path: str) -> str:
    return Path(os.path.abspath(path)).name or "."  # noqa: PTH100 (links stay)


def _safe(name: str) -> str:
    """tar takes what begins with @ or - for something else than a name."""
    return name if name == "." else f"./{name}"


def _renaming(old: str, new: str) -> list[str]:
    """The option that has tar call the top of the archive `new`: names and hard links, not what symbolic links say."""
    if old == new and old == ".":
        return []
    pattern = r"\." if old == "." else r"\(\./\)\{0,1\}" + re.sub(r"([\\.*\[\]^$])", r"\\\1", old)
    replacement = re.sub(r"([\\&])", r"\\\1", new)
    mark = next(letter for letter in "#:~\x01\x02\x03" if letter not in old + new)
    rest = r"\1" if old == "." else r"\2"
    return [f"--transform=flags=rhS;s{mark}^{pattern}\\(/\\|$\\){mark}{replacement}{rest}{mark}"]
