"""Podman's storage root.

libpod/bolt_state.db     Podman up to 4, bbolt: vol/<name>/config (JSON), vol/<name>/vol-dependencies (ids of
                         containers), id-registry (id -> name), runtime-config
db.sql                   Podman from 5 on, SQLite: VolumeConfig, ContainerVolume, ContainerConfig, DBConfig
volumes/<name>/_data     the data
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import field
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from orlop.errors import Conflict
from orlop.foreign.bolt import BoltDatabase, Bucket, DamagedDatabase
from orlop.foreign.locks import held_databases
from orlop.foreign.volume import (
    DamagedRoot,
    ForeignVolume,
    folder_names,
    is_owned_by_user,
    look_at,
    resolved_place,
)
from orlop.model.value import dataclass
from orlop.model.volume import ANONYMOUS_LABEL

_KNOWN_OPTIONS = ("type", "device", "o")  # Podman notes others in capitals that it takes out of these


class _Config(msgspec.Struct, rename="camel"):
    name: str = ""
    volume_driver: str = ""
    labels: dict[str, str] | None = None
    volume_options: dict[str, str] | None = None
    created_at: str = ""
    is_anon: bool = False
    size: int = 0


@dataclass(slots=True)
class _Memory:
    """What Podman knows."""

    volumes: dict[str, _Config | str] = field(default_factory=dict)  # or what is wrong with the record
    containers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # names, by volume
    graph_root: str = ""
    volume_path: str = ""


def is_podman_root(path: Path) -> bool:
    return any((path / mark).exists() for mark in ("libpod", "db.sql", "storage.lock"))


class PodmanRoot:
    engine = "Podman"

    def __init__(self, path: Path) -> None:
        """Raises DamagedRoot, OSError."""
        self.path = path
        self._bolt, self._sqlite = path / "libpod/bolt_state.db", path / "db.sql"
        self.place = resolved_place(path, path / "volumes")

    @contextmanager
    def hold(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(held_databases(self.engine, self.path, [self._bolt]))
            if self._sqlite.exists():
                stack.enter_context(self._held_sqlite())
            yield

    @contextmanager
    def _held_sqlite(self) -> Iterator[None]:
        """A transaction that reads keeps everybody from writing."""
        try:
            with closing(_open_sqlite(self._sqlite)) as database:
                database.execute("BEGIN")
                database.execute("SELECT count(*) FROM sqlite_master").fetchall()
                yield
        except sqlite3.OperationalError as error:
            why = f"Podman is at work in it ({self._sqlite}: {error})"
            raise Conflict(f"data root {self.path}", why, "Try again when it has ended") from error
        except sqlite3.DatabaseError:
            yield  # damaged: `volumes` says so

    def volumes(self) -> list[ForeignVolume]:
        memory = self._memory()
        elsewhere = memory.volume_path and Path(memory.volume_path).resolve() != self.place
        if elsewhere and memory.graph_root and Path(memory.graph_root).resolve() == self.path.resolve():
            raise DamagedRoot(f"Podman keeps the volumes of this root in {memory.volume_path}, not in {self.place}")
        return [
            self._volume(name, memory.volumes.get(name), tuple(sorted(memory.containers.get(name, ()))))
            for name in sorted({*memory.volumes, *folder_names(self.place)})
        ]

    def volumes_by_folder(self) -> list[ForeignVolume]:
        return [self._volume(name, None, ()) for name in folder_names(self.place)]

    def _volume(self, name: str, config: _Config | str | None, containers: tuple[str, ...]) -> ForeignVolume:
        if isinstance(config, str):
            return ForeignVolume(name, self.place, containers=containers, obstacle=config)
        known = config or _Config(name, "local")
        if known.volume_driver not in ("", "local"):
            obstacle = f"its data is kept by the driver {known.volume_driver}"
            if known.volume_driver == "image":
                obstacle = "it shows an image of Podman's (driver image)"
            return ForeignVolume(
                name, self.place, known.volume_driver, known.labels, known.volume_options, containers=containers,
                obstacle=obstacle,
            )  # fmt: skip
        folder = look_at(self.place, name)
        labels = dict(known.labels or {})
        if known.is_anon:
            labels[ANONYMOUS_LABEL] = ""
        options = {key: value for key, value in (known.volume_options or {}).items() if key in _KNOWN_OPTIONS}
        if known.size > 0:
            options["size"] = str(known.size)
        return ForeignVolume(
            name,
            self.place,
            labels=labels or None,
            options=options or None,
            created_at_ns=_nanoseconds(known.created_at) or folder.created_at_ns,
            is_anonymous=known.is_anon,
            containers=containers,
            obstacle=folder.obstacle,
            hint=folder.hint,
            is_gone=folder.is_gone,
            notes=tuple(self._notes(config, folder.obstacle)),
        )

    def _notes(self, config: _Config | None, obstacle: str) -> Iterator[str]:
        if config is None and not obstacle:
            yield "Podman has no record of it: it has no labels and no options"
        if is_owned_by_user(self.path):
            yield "its files keep the owners that they have on the disk, where a user's Podman shifts them"

    def _memory(self) -> _Memory:
        memory = _Memory()
        if not self._bolt.exists() and not self._sqlite.exists():
            raise DamagedRoot(f"neither {self._bolt} nor {self._sqlite} is there")
        try:
            if self._bolt.exists():
                _remember_bolt(self._bolt, memory)
            if self._sqlite.exists():
                with closing(_open_sqlite(self._sqlite)) as database:
                    _remember_sqlite(database, memory)
        except (DamagedDatabase, sqlite3.Error, UnicodeDecodeError) as error:
            raise DamagedRoot(f"Podman's memory of {self.path} is damaged: {error}") from error
        return memory


def _remember_bolt(path: Path, memory: _Memory) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        top = dict(BoltDatabase(fd).root.buckets())
        names = {key: value.decode() for key, value in _values(top.get(b"id-registry"))}
        for key, bucket in top[b"vol"].buckets() if b"vol" in top else ():
            name = key.decode(errors="backslashreplace")
            memory.volumes[name] = _parse_config(bucket.value(b"config") or b"")
            dependencies = bucket.bucket(b"vol-dependencies")
            memory.containers[name] += [names.get(each, each.decode()[:12]) for each, _ in _values(dependencies)]
        settings = dict(_values(top.get(b"runtime-config")))
        memory.graph_root = settings.get(b"graph-root", b"").decode()
        memory.volume_path = settings.get(b"volume-path", b"").decode()
    finally:
        os.close(fd)


def _parse_config(text: bytes | str) -> _Config | str:
    try:
        return msgspec.json.decode(text, type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"Podman's record of it is damaged: {error}"


def _values(bucket: Bucket | None) -> Iterable[tuple[bytes, bytes]]:
    return bucket.values() if bucket is not None else ()


def _open_sqlite(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0, isolation_level=None)
    database.execute("PRAGMA trusted_schema=OFF")
    return database


def _remember_sqlite(database: sqlite3.Connection, memory: _Memory) -> None:
    for name, text in database.execute("SELECT Name, JSON FROM VolumeConfig"):
        memory.volumes[name] = _parse_config(text)
    used = "SELECT v.VolumeName, c.Name FROM ContainerVolume v JOIN ContainerConfig c ON c.ID = v.ContainerID"
    by_volume: Mapping[str, list[str]] = memory.containers
    for volume, container in database.execute(used):
        if container not in by_volume[volume]:
            by_volume[volume].append(container)
    for graph_root, volume_path in database.execute("SELECT GraphRoot, VolumeDir FROM DBConfig"):
        memory.graph_root, memory.volume_path = graph_root, volume_path


def _nanoseconds(text: str) -> int:
    """Go spells nine digits of a second, Python reads six. 0 for what is no time."""
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(head + (tail[len(digits) :] if dot else ""))
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        return 0
    return max(seconds * 1_000_000_000 + int((digits or "0")[:9].ljust(9, "0")), 0)
