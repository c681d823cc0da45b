"""JuiceFS: one POSIX file system for many hosts, its names in a database, its data in object storage or a directory.

    docker volume create -d juicefs -o meta=redis://10.0.0.5:6379/1 -o name=tree tree

Writing back later is off: when a file is closed, or synced, its data is in the storage. Names and attributes are not
kept in memory either, unless `metadata-cache` says so: who looks sees what another host has just done.

A file system that exists is never formatted, and the one that was mounted first is the only one that is mounted from
then on: its UUID is remembered beside the volume.
"""

import re
import time
from pathlib import Path

from orlop.drivers.volumes.abilities import Pending
from orlop.drivers.volumes.juicefs_meta import (
    FileSystem,
    Meta,
    Storage,
    find_file_system,
    make_file_system,
    parse_meta,
    program,
)
from orlop.drivers.volumes.mount_program import DIRECTORY, Command, MountProgram
from orlop.drivers.volumes.remote_options import Options, check_known, check_size, choose, require, switch
from orlop.drivers.volumes.served_backend import Served
from orlop.errors import Conflict, HostFailure, Malformed, Unavailable
from orlop.kernel.mount_process import unmount_within
from orlop.kernel.mounts import MountEntry, is_mount_point
from orlop.model.sizes import parse_size
from orlop.store.files import write_durably

_STORAGE = ("storage", "bucket", "access-key", "secret-key", "trash-days")
KNOWN = ("meta", "meta-password", "name", "format", "subdir", "cache-size", "metadata-cache", "read-only", *_STORAGE)
IF_MISSING, NEVER = "if-missing", "never"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_META_WORD = "meta-password"
_FLUSHING = "flushing"  # in the program's place: it is unmounted and ends by itself
DEFAULT_CACHE_BYTES = 1 << 30
UNMOUNT_SECONDS, FLUSH_SECONDS, _LOOK_SECONDS = 20.0, 60.0, 0.05


class JuicefsBackend:
    name = "juicefs"
    scope = "global"
    writes_through = True
    shown = tuple(key for key in KNOWN if key not in ("meta", "meta-password", "access-key", "secret-key"))

    def check(self, subject: str, options: Options) -> None:
        check_known(subject, options, KNOWN)
        require(subject, options, "meta")
        _meta(subject, options)
        if choose(subject, options, "format", (IF_MISSING, NEVER), IF_MISSING) == IF_MISSING:
            require(subject, options, "name")
        if (name := options.get("name")) and not _NAME.fullmatch(name):
            why = f"name is {name!r}, and has 3 to 63 lower-case letters, digits and dashes, no dash at its ends"
            raise Malformed(subject, why)
        if ".." in options.get("subdir", "").split("/"):
            raise Malformed(subject, "subdir leads upwards")
        for option, unit in (("trash-days", "days"), ("metadata-cache", "seconds")):
            if (number := options.get(option)) and not number.isdecimal():
                raise Malformed(subject, f"{option} is {number!r}, and is a number of {unit}")
        switch(subject, options, "read-only")
        check_size(subject, options, "cache-size")
        _check_storage(subject, options)

    def command(self, served: Served) -> Command:
        subject = f"attaching volume {served.name}"
        if _is_flushing(served.place):
            why = "the program of its last use is still bringing away what was written"
            raise Unavailable(subject, why, "Try again when the storage answers")
        options, meta = served.options, _meta(subject, served.options)
        self._find(subject, served, meta)
        argv = [program(), "--no-agent", "mount", meta.url, str(served.mountpoint)]
        argv += ["--cache-dir", DIRECTORY, "--cache-size", str(_cache_mebibytes(options))]
        argv += ["--no-usage-report", "--no-syslog", "--metrics", "127.0.0.1:0", "--hide-internal", "--enable-xattr"]
        for kept in ("--attr-cache", "--entry-cache", "--dir-entry-cache"):
            argv += [kept, f"{options.get('metadata-cache') or 0}s"]
        argv += ["--subdir", "/" + options["subdir"].strip("/")] if options.get("subdir") else []
        argv += ["--read-only"] if switch(subject, options, "read-only") else ["--check-storage"]
        # With JFS_SUPERVISOR it serves the mount itself, and starts no second process that we would not know of.
        environment = {"JFS_SUPERVISOR": "1"}
        if not meta.password:
            return Command(tuple(argv), environment=environment, directory=served.cache)
        environment["META_PASSWORD_FILE"] = str(served.place / _META_WORD)
        return Command(tuple(argv), {_META_WORD: meta.password}, environment, served.cache)

    def _find(self, subject: str, served: Served, meta: Meta) -> None:
        """Sees to it that the file system is there, and is the one that it was."""
        options, known = served.options, _remembered(served.identity)
        found = find_file_system(subject, meta)
        if found is None:
            if known:
                why = f"its file system {known} is no longer in {meta}"
                raise HostFailure(subject, why, "Bring the metadata back from a backup; it is not formatted anew")
            found = _make(subject, meta, options)
        if known and found.uuid != known:
            why = f"{meta} holds the file system {found.name} ({found.uuid}), and the volume's is {known}"
            raise Conflict(subject, why, "Check meta; another file system is not mounted in its place")
        if options.get("name", found.name) != found.name:
            why = f"{meta} holds the file system {found.name}, and not {options['name']}"
            raise Conflict(subject, why, "Check meta and name; what is there is not formatted")
        if not known:
            write_durably(served.identity, found.uuid.encode())

    def is_own(self, entry: MountEntry) -> bool:
        return entry.fs_type == "fuse.juicefs"

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        """It flushes once it is unmounted, and then ends by itself."""
        if not program.is_alive():
            return
        if is_mount_point(served.mountpoint):
            write_durably(served.place / _FLUSHING, b"")
            try:
                unmount_within(UNMOUNT_SECONDS, str(served.mountpoint))
            except OSError:  # busy, or it does not answer
                (served.place / _FLUSHING).unlink()
                return
        deadline = time.monotonic() + FLUSH_SECONDS
        while program.is_alive():
            if time.monotonic() > deadline:
                why = "what was written last is still on its way to the storage"
                raise Unavailable(f"volume {served.name}", why, "Its program goes on by itself and then ends")
            time.sleep(_LOOK_SECONDS)

    def pending(self, place: Path, cache: Path) -> Pending | None:
        """What is closed is in the storage, so there is nothing; but for a program that is at its last words."""
        return Pending(files=1) if _is_flushing(place) else Pending()


def _meta(subject: str, options: Options) -> Meta:
    return parse_meta(subject, options["meta"], options.get("meta-password", ""))


def _make(subject: str, meta: Meta, options: Options) -> FileSystem:
    why = f"there is no file system in {meta}"
    if options.get("format") == NEVER:
        raise HostFailure(subject, why, "Check meta; or make one with: juicefs format")
    if not options.get("bucket"):
        raise HostFailure(subject, f"{why}, and no bucket for a new one", "Check meta, or give storage and bucket")
    if switch(subject, options, "read-only"):
        raise HostFailure(subject, f"{why}, and none is made for reading only", "Check meta")
    make_file_system(subject, meta, options["name"], _storage(options))
    found = find_file_system(subject, meta)
    if found is None:
        raise HostFailure(subject, f"the file system that was made in {meta} is not found there")
    return found


def _storage(options: Options) -> Storage:
    bucket = options["bucket"]
    kind = options.get("storage") or ("s3" if "://" in bucket else "file")
    if kind == "file":
        bucket = bucket.rstrip("/") + "/"
    keys = options.get("access-key", ""), options.get("secret-key", "")
    return Storage(kind, bucket, *keys, options.get("trash-days", ""))


def _check_storage(subject: str, options: Options) -> None:
    bucket = options.get("bucket")
    if not bucket:
        if given := [option for option in _STORAGE if options.get(option)]:
            raise Malformed(subject, f"{given[0]} is for a new file system, and there is no bucket for it")
        return
    if _storage(options).kind == "file" and not bucket.startswith("/"):
        raise Malformed(subject, "bucket is no absolute path", "For storage=file it is a directory")


def _cache_mebibytes(options: Options) -> int:
    size = parse_size(options["cache-size"]) if options.get("cache-size") else DEFAULT_CACHE_BYTES
    return max(1, size >> 20)


def _remembered(identity: Path) -> str:
    try:
        return identity.read_text().strip()
    except FileNotFoundError:
        return ""


def _is_flushing(place: Path) -> bool:
    return (place / _FLUSHING).exists() and MountProgram(place).is_alive()
