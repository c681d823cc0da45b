"""Where other people's volume plugins are reached: the files that name them, as Docker's discovery has it.

    <dir>/<name>.sock, <dir>/<name>/<name>.sock     a unix socket; goes before every file
    <dir>/<name>.spec, <dir>/<name>/<name>.spec     one URL: unix://, tcp://, http:// or https://
    <dir>/<name>.json, <dir>/<name>/<name>.json     {"Addr": URL, "TLSConfig": {...}}; the file's name is the plugin's

Only these files are read; no plugin is asked. What names a plugin may change at any time, so it is looked up for each
call: that costs a few stat(2).
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from orlop.errors import HostFailure, Malformed
from orlop.model.value import dataclass

_LONGEST_SPEC_BYTES = 64 * 1024
_SETTLED_NS = 1_000_000_000
_STAT_WORDS = 3  # of an identity, for each file that it was made of
_PORTS = {"tcp": 80, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a plugin on the network is trusted, and how we show who we are. "" = no such file."""

    skip_verify: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one plugin is. `identity` is another one as soon as somebody else sits there."""

    socket: str = ""  # of a unix socket; else host and port
    host: str = ""
    port: int = 0
    tls: Tls | None = None
    identity: tuple[int, ...] = ()

    @property
    def is_named_by_socket(self) -> bool:
        """And by no file that would have to be read."""
        return len(self.identity) == _STAT_WORDS and bool(self.socket)

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


class _TlsFile(msgspec.Struct):
    skip_verify: bool = msgspec.field(default=False, name="InsecureSkipVerify")
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = msgspec.field(default="", name="CertFile")
    key_file: str = msgspec.field(default="", name="KeyFile")


class _JsonFile(msgspec.Struct):
    url: str = msgspec.field(default="", name="Addr")
    tls: _TlsFile | None = msgspec.field(default=None, name="TLSConfig")


def canonical_name(name: str) -> str:
    """`rclone:latest` is `rclone`."""
    return name.removesuffix(":latest")


def find_address(directories: Sequence[Path], name: str) -> Address | None:
    """None where nothing names that plugin. Raises HostFailure, Malformed for a file that makes no sense."""
    if not _is_plain(name):
        return None
    for directory in directories:
        for path in (f"{directory}/{name}.sock", f"{directory}/{name}/{name}.sock"):
            found = _stat(path)
            if found is not None and stat.S_ISSOCK(found.st_mode):
                return Address(socket=path, identity=_identity(found))
    for directory in directories:
        for ending, read in ((".spec", _read_spec), (".json", _read_json)):
            for path in (f"{directory}/{name}{ending}", f"{directory}/{name}/{name}{ending}"):
                found = _stat(path)
                if found is not None and stat.S_ISREG(found.st_mode):
                    return read(Path(path), _identity(found))
    return None


class PluginNames:
    """Of everything that names a plugin in these directories, whether it is one or not. Somebody asks with each volume
    that is made or listed, so they are read again only once something in them has changed."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = [str(directory) for directory in directories]
        self._known: tuple[Mapping[str, int], Sequence[str]] | None = None

    def read(self) -> Sequence[str]:
        known = self._known
        if known is not None and _changed_at(known[0]) == known[0]:
            return known[1]
        # Looked at before they are read: what changes meanwhile is seen the next time.
        changed_at = _changed_at(_with_folders(self._directories))
        names = sorted({name for directory in self._directories for name in _names_in(directory)})
        # Two changes within one tick of the file system's clock look like one.
        is_settled = max(changed_at.values(), default=0) < time.time_ns() - _SETTLED_NS
        self._known = (changed_at, names) if is_settled else None
        return names


def socket_address(path: str) -> Address | None:
    """None where no socket is there."""
    found = _stat(path)
    if found is None or not stat.S_ISSOCK(found.st_mode):
        return None
    return Address(socket=path, identity=_identity(found))


def _changed_at(directories: Iterable[str]) -> dict[str, int]:
    return {path: found.st_mtime_ns if (found := _stat(path)) else 0 for path in directories}


def _with_folders(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        yield directory
        with suppress(OSError):
            yield from [entry.path for entry in os.scandir(directory) if entry.is_dir()]


def _names_in(directory: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return  # most machines have none of these directories
    for entry in entries:
        name, dot, ending = entry.name.rpartition(".")
        if dot and ending in ("sock", "spec", "json") and _is_plain(name):
            yield name
        elif _is_plain(entry.name) and any(
            (Path(entry.path) / f"{entry.name}{each}").exists() for each in (".sock", ".spec", ".json")
        ):
            yield entry.name


def _is_plain(name: str) -> bool:
    """A name that stays within its directory."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name and len(name) < 200


def _stat(path: str) -> os.stat_result | None:
    """For each call of a plugin: so without pathlib, which takes longer than the kernel."""
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError:
        return None


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_ctime_ns)


def _read_spec(path: Path, identity: tuple[int, ...]) -> Address:
    # Docker does not verify whom a .spec names by https; who wants that writes a .json.
    return _parse_url(path, _read(path).decode(errors="replace").strip(), Tls(skip_verify=True), identity, False)


def _read_json(path: Path, identity: tuple[int, ...]) -> Address:
    try:
        found = msgspec.json.decode(_read(path), type=_JsonFile)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(f"plugin file {path}", f"it is unreadable: {error}") from error
    given = found.tls
    if given is None:
        return _parse_url(path, found.url, Tls(), identity, False)
    tls = Tls(given.skip_verify or not given.ca_file, given.ca_file, given.cert_file, given.key_file)
    return _parse_url(path, found.url, tls, identity, True)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_SPEC_BYTES)
    except OSError as error:
        raise HostFailure(f"plugin file {path}", error.strerror or str(error)) from error


def _parse_url(path: Path, url: str, tls: Tls, identity: tuple[int, ...], over_tls: bool) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Malformed(f"plugin file {path}", f"{url!r} is no address: {error}") from error
    if parts.scheme == "unix" and parts.path.startswith("/"):
        found = _stat(parts.path)
        return Address(socket=parts.path, identity=identity + (_identity(found) if found else ()))
    if parts.scheme in _PORTS and parts.hostname:
        tls_or_none = tls if over_tls or parts.scheme == "https" else None
        return Address("", parts.hostname, port or _PORTS[parts.scheme], tls_or_none, identity)
    why = f"Unknown protocol: {url!r} is no address of a plugin"
    raise Malformed(f"plugin file {path}", why, "Use unix://, tcp://, http:// or https://")
