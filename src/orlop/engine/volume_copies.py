"""Volumes that are made together with their data: copies of others, and whatever else fills a directory.

    prepare   the driver makes a whole volume out of sight
    fill      into its directory: a tree copied, an archive unpacked
    reveal    an operation of its own: the volume gets its name, in one step

Nobody sees a volume that is half filled. A crash before `reveal` leaves staging that the driver throws away at the next
start; after it, the volume is there, whole. The new name is not locked while it is being filled: whoever takes it first
has it.
"""

import errno
import logging
import os
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TypeVar

from orlop.drivers.volumes.abilities import Filling, scope_of
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.patience import WAY_OUT
from orlop.engine.volume_access import VolumeAccess
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_options import check_options
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_steps import VolumeSteps, render_record
from orlop.errors import Conflict, HostFailure, Malformed, NotFound, OrlopError, Unavailable, Unsupported
from orlop.model.on_hang import for_driver
from orlop.model.value import dataclass
from orlop.model.volume import ANONYMOUS_LABEL, DEFAULT_DRIVER, Volume
from orlop.planning.volumes import REVEAL, plan_reveal
from orlop.store.journal import Change, Put
from orlop.store.tree_worker import CopiedTree, copy_aside
from orlop.store.trees import Missed, Progress

log = logging.getLogger(__name__)

T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class NewVolume:
    """A volume that is wanted, and is not there yet."""

    name: str
    driver: str = ""  # "" = the default one
    options: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    created_at_ns: int = 0  # 0 = now
    asked_for: frozenset[str] = frozenset()  # options that hold over what the data says (uid, gid, mode)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a copy has otherwise than its source."""

    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    without_options: Sequence[str] = ()
    without_labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CopyResult:
    volume: Volume
    entries: int
    size_bytes: int
    missed: Missed
    left_out: tuple[str, ...] = ()  # names of options that say where the source's data is
    holders: tuple[str, ...] = ()  # ids of containers that use the source


class VolumeCopies:
    """Thread-safe."""

    def __init__(
        self,
        executor: Executor,
        records: VolumeRecords,
        steps: VolumeSteps,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        access: VolumeAccess,
        clock: Callable[[], int],
    ) -> None:
        self._executor = executor
        self._records = records
        self._steps = steps
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._access = access
        self._clock = clock

    def copy(
        self, source: str, name: str, changes: Changes | None = None, progress: Progress | None = None
    ) -> CopyResult:
        """A new volume with the data of `source`, which may be in use meanwhile: each file is copied as it is found.
        Labels and options too, but for the anonymous label and what says where the source's data is. What `progress`
        raises ends it; then nothing is left of it. Raises NoSuchVolume, Conflict when the name is taken."""
        with self._access.open(source) as opened:
            volume = opened.volume
            wish, left_out = self._wish(volume, name, changes or Changes())
            subject = f"copy volume {volume.name} to {name}"
            made = self.copy_tree(opened.fd, wish, progress, subject, may_hang=bool(opened.foreign))
        return replace(made, left_out=left_out, holders=tuple(self._records.holders(volume.name)))

    def copy_tree(
        self,
        source_fd: int,
        wish: NewVolume,
        progress: Progress | None = None,
        subject: str = "",
        may_hang: bool = False,
    ) -> CopyResult:
        """A new volume with what is in an open directory, and the directory's own attributes. Whatever is mounted below
        it is left out, and noted as missed. Storage that `may_hang` raises Unavailable when it does."""

        def fill(fd: int) -> CopiedTree:
            try:
                return copy_aside(source_fd, fd, progress, may_hang)
            except TimeoutError as error:
                raise Unavailable(subject, "its storage gave no answer", WAY_OUT) from error

        made, copied = self.make(wish, fill, subject)
        return CopyResult(made, copied.entries, copied.size_bytes, copied.missed)

    def make(self, wish: NewVolume, fill: Callable[[int], T], subject: str = "") -> tuple[Volume, T]:
        """A new volume filled by `fill`, which is given its empty directory. What `fill` raises leaves nothing behind;
        an OSError becomes a HostFailure about `subject`."""
        subject = subject or f"create {wish.name}"
        driver_name = wish.driver or DEFAULT_DRIVER
        driver = self._filling(subject, driver_name)
        self.check(wish, subject)
        volume = Volume(
            wish.name,
            secrets.token_hex(32),
            driver_name,
            wish.created_at_ns or self._clock(),
            "",
            wish.labels,
            wish.options,
            scope_of(self._drivers[driver_name], wish.options),
        )
        token = f"fill-{secrets.token_hex(8)}"
        record = render_record(volume)
        try:
            path = driver.prepare(token, for_driver(wish.options), record)
            faults.point(REVEAL, "volume.fill", "before")
            result = _filled(path, fill)
            faults.point(REVEAL, "volume.fill", "after")
            with self._locks.hold([wish.name]):
                self._refuse_taken(wish.name, subject)
                volume = self._reveal(volume, token, record, wish.asked_for)
        except BaseException as error:
            self._throw_away(driver, token)
            if isinstance(error, OSError) and not isinstance(error, OrlopError | ConnectionError):
                raise _failure(subject, error) from error
            raise
        self._events.publish("volume", "create", volume.name, {"driver": volume.driver})
        return volume, result

    def check(self, wish: NewVolume, subject: str) -> None:
        """Raises what `make` would raise before it does anything."""
        if not wish.name:
            raise Malformed(subject, "the new volume has no name", "Give it one")
        self._filling(subject, wish.driver or DEFAULT_DRIVER)
        check_options(wish.name, self._drivers[wish.driver or DEFAULT_DRIVER], wish.options)
        self._refuse_taken(wish.name, subject)

    def own_options(self, driver: str, options: Mapping[str, str]) -> dict[str, str]:
        """Those that another volume with the same data may have too."""
        found = self._drivers.get(driver)
        return found.own_options(for_driver(options)) if isinstance(found, Filling) else for_driver(options)

    def _wish(self, source: Volume, name: str, changes: Changes) -> tuple[NewVolume, tuple[str, ...]]:
        labels = {key: value for key, value in (source.labels or {}).items() if key != ANONYMOUS_LABEL}
        labels = _changed(labels, changes.labels, changes.without_labels)
        own = self.own_options(source.driver, source.options or {})
        # Another driver understands other options.
        kept = own if changes.driver in ("", source.driver) else {}
        options = _changed(kept, changes.options, changes.without_options)
        left_out = tuple(key for key in source.options or {} if key not in own and key not in changes.options)
        wish = NewVolume(
            name,
            changes.driver or source.driver,
            options if options or source.options is not None else None,
            labels if labels or source.labels is not None else None,
            asked_for=frozenset(changes.options),
        )
        return wish, left_out

    def _filling(self, subject: str, name: str) -> Filling:
        driver = self._drivers.get(name)
        if driver is None:
            hint = f"Drivers here: {', '.join(sorted(self._drivers))}"
            raise NotFound(subject, f'error looking up volume plugin {name}: plugin "{name}" not found', hint)
        if not isinstance(driver, Filling):
            hint = "Create the volume, then: orlop volume cp SRC:/. - | orlop volume cp - NEW:/"
            raise Unsupported(subject, f"the driver {name} cannot make a volume with its data at once", hint)
        return driver

    def _refuse_taken(self, name: str, subject: str) -> None:
        if self._records.find(name) is not None:
            hint = f"Choose another name, or remove that one first: docker volume rm {name}"
            raise Conflict(subject, f"a volume {name} exists already", hint)
        if why := self._records.elsewhere(name):
            raise Conflict(subject, why, "Choose another name")

    def _reveal(self, volume: Volume, token: str, record: str, asked_for: Collection[str]) -> Volume:
        def outcome() -> list[Change]:
            nonlocal volume
            volume = replace(volume, mountpoint=self._steps.take_stored(volume.name).mountpoint)
            return [Put("volumes", volume.name, volume)]

        self._executor.run(plan_reveal(volume.name, volume.driver, token, record, asked_for), outcome)
        self._records.remember(volume)
        return volume

    def _throw_away(self, driver: Filling, token: str) -> None:
        try:
            driver.unstage(token)
        except (OrlopError, OSError) as error:
            log.warning("what was to become a volume stays until the next start: %s", error)


def _filled(path: Path, fill: Callable[[int], T]) -> T:
    fd = os.open(path, _DIRECTORY)
    try:
        return fill(fd)
    finally:
        os.close(fd)


def _changed(given: Mapping[str, str], added: Mapping[str, str], without: Sequence[str]) -> dict[str, str]:
    return {key: value for key, value in {**given, **added}.items() if key not in without}


def _failure(subject: str, error: OSError) -> HostFailure:
    where = f" ({error.filename})" if error.filename else ""
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space on that disk, or give the new volume a larger size; nothing was left behind"
    return HostFailure(subject, f"{error.strerror or error}{where}", hint)
