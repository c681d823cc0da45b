"""Docker's data root.

volumes/metadata.db               bbolt, bucket "volumes": name -> Name, Driver, Labels, Options (JSON)
volumes/<name>/_data, opts.json   the local driver's
containers/<id>/config.v2.json    Name, MountPoints: what refers to a volume
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from orlop.foreign.bolt import BoltDatabase, DamagedDatabase
from orlop.foreign.locks import held_databases
from orlop.foreign.volume import DamagedRoot, Folder, ForeignVolume, folder_names, look_at, resolved_place
from orlop.model.volume import ANONYMOUS_LABEL

_MARKS = ("image", "buildkit", "engine-id")  # in a root whose metadata.db is lost
_MOST_BYTES = 16 << 20


class _Record(msgspec.Struct, rename="pascal"):
    name: str = ""
    driver: str = ""
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class _MountPoint(msgspec.Struct, rename="pascal"):
    name: str = ""


class _Container(msgspec.Struct, rename="pascal"):
    name: str = ""
    mount_points: dict[str, _MountPoint] | None = None


class _Quota(msgspec.Struct, rename="pascal"):
    size: int = 0


class _Options(msgspec.Struct, rename="pascal"):
    mount_type: str = ""
    mount_opts: str = ""
    mount_device: str = ""
    quota: _Quota | None = None


def is_docker_root(path: Path) -> bool:
    volumes = path / "volumes"
    return (volumes / "metadata.db").exists() or (volumes.is_dir() and any((path / mark).exists() for mark in _MARKS))


class DockerRoot:
    engine = "Docker"

    def __init__(self, path: Path) -> None:
        """Raises DamagedRoot, OSError."""
        self.path = path
        self.place = resolved_place(path, path / "volumes")

    def hold(self) -> AbstractContextManager[None]:
        return held_databases(
            self.engine, self.path, [self.place / "metadata.db", self.path / "network/files/local-kv.db"]
        )

    def volumes(self) -> list[ForeignVolume]:
        records = self._records()
        containers = self._containers()
        return [
            self._volume(name, records.get(name), containers.get(name, ()))
            for name in sorted({*records, *folder_names(self.place)})
        ]

    def volumes_by_folder(self) -> list[ForeignVolume]:
        return [self._volume(name, None, ()) for name in folder_names(self.place)]

    def _volume(self, name: str, record: _Record | str | None, containers: tuple[str, ...]) -> ForeignVolume:
        if isinstance(record, str):
            return ForeignVolume(name, self.place, containers=containers, obstacle=record)
        if record is not None and record.driver not in ("", "local"):
            return ForeignVolume(
                name,
                self.place,
                record.driver,
                record.labels,
                record.options,
                containers=containers,
                obstacle=f"its data is kept by the driver {record.driver}",
            )
        folder = look_at(self.place, name)
        labels = record.labels if record else None
        options = dict(record.options or {}) if record else {}
        if not folder.obstacle and not options:
            try:
                options = _options_of(self.place / name)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                # A volume whose data is mounted must not be taken for a plain directory.
                folder = Folder(obstacle=f"its opts.json is unreadable: {error}", hint="Mend or remove that file")
        unknown = record is None and not folder.obstacle
        return ForeignVolume(
            name,
            self.place,
            labels=labels,
            options=options or None,
            created_at_ns=folder.created_at_ns,
            is_anonymous=ANONYMOUS_LABEL in (labels or {}),
            containers=containers,
            obstacle=folder.obstacle,
            hint=folder.hint,
            is_gone=folder.is_gone,
            notes=("Docker has no record of it: it has no labels",) if unknown else (),
        )

    def _records(self) -> dict[str, _Record | str]:
        """By name; of a record that makes no sense what is wrong with it."""
        path = self.place / "metadata.db"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DamagedRoot(f"{path} is not there") from None
        try:
            bucket = BoltDatabase(fd).root.bucket(b"volumes")
            pairs = list(bucket.values()) if bucket else []
            return {key.decode(errors="backslashreplace"): _parse_record(value) for key, value in pairs}
        except DamagedDatabase as error:
            raise DamagedRoot(f"{path} is damaged: {error}") from error
        finally:
            os.close(fd)

    def _containers(self) -> Mapping[str, tuple[str, ...]]:
        """Names of containers by volume."""
        found: dict[str, list[str]] = defaultdict(list)
        for container_id, container in self._configurations():
            for name in {point.name for point in (container.mount_points or {}).values() if point.name}:
                found[name].append(container.name.removeprefix("/") or container_id[:12])
        return {name: tuple(sorted(containers)) for name, containers in found.items()}

    def _configurations(self) -> Iterator[tuple[str, _Container]]:
        folder = self.path / "containers"
        for container_id in folder_names(folder):
            path = folder / container_id / "config.v2.json"
            try:
                yield container_id, msgspec.json.decode(_read(path), type=_Container)
            except FileNotFoundError:
                continue  # Docker does not know this container either
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise DamagedRoot(f"{path}, which says what container {container_id[:12]} uses, is damaged") from error


def _parse_record(text: bytes) -> _Record | str:
    try:
        return msgspec.json.decode(text, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"Docker's record of it is damaged: {error}"


def _options_of(folder: Path) -> dict[str, str]:
    """From opts.json, as `create` would take them; none where there is no such file. Raises DecodeError, OSError."""
    try:
        found = msgspec.json.decode(_read(folder / "opts.json"), type=_Options | None)
    except FileNotFoundError:
        return {}
    if found is None:
        return {}
    size = found.quota.size if found.quota else 0
    given = {
        "type": found.mount_type,
        "device": found.mount_device,
        "o": found.mount_opts,
        "size": str(size) if size > 0 else "",
    }
    return {key: value for key, value in given.items() if value}


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(_MOST_BYTES)
