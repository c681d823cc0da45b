"""What there is to know about a volume: its facts, its limit, its users.

`of` answers from memory alone, for inspect is answered on the event loop. The others may ask the disk, but never wait
for storage longer than they are told to: what is not known in time is unknown.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import field, replace

from orlop.drivers.volumes.abilities import (
    HealthState,
    Limited,
    Limits,
    Measurement,
    Pending,
    Question,
    Uploading,
    Usage,
)
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.container_records import ContainerRecords
from orlop.engine.measuring import Measurer
from orlop.engine.redactor import Redactor
from orlop.engine.volume_facts import IN_USE_NS
from orlop.engine.volumes import Volumes
from orlop.errors import OrlopError
from orlop.model.filters import Filters
from orlop.model.mount import MountKind
from orlop.model.sizes import parse_size
from orlop.model.value import dataclass
from orlop.model.volume import Volume, VolumeFacts, VolumeUser

_MOST_REMEMBERED = 10_000
_NO_LIMITS = Limits()
LOOK_HOLDS_NS = 100_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeReport:
    volume: Volume
    facts: VolumeFacts
    limits: Limits
    users: tuple[VolumeUser, ...] = ()
    is_current: bool = False  # its size is not older than its last use
    is_measuring: bool = False
    pending: Pending | None = None  # for storage elsewhere: what has not got there
    told: Mapping[str, object] = field(default_factory=dict)  # by the driver, when it was last looked at
    remark: str = ""  # why it is not as others of the cluster

    @property
    def in_use(self) -> bool:
        return any(user.is_running for user in self.users)


@dataclass(slots=True)
class _KnownLimits:
    options: Mapping[str, str] | None
    limits: Limits


@dataclass(slots=True)
class VolumeReports:
    """Thread-safe."""

    volumes: Volumes
    drivers: Mapping[str, VolumeDriver]
    containers: ContainerRecords
    measurer: Measurer
    clock: Callable[[], int] = time.time_ns
    redactor: Redactor = field(default_factory=Redactor)
    _limits: dict[str, _KnownLimits] = field(default_factory=dict)
    _wanted: dict[str, int] = field(default_factory=dict)  # when, so that nobody keeps the disk busy by asking
    _looked_at: dict[str, int] = field(default_factory=dict)
    _in_vain: dict[str, int] = field(default_factory=dict)  # when it was tried and could not be told
    _pending: dict[str, Pending | None] = field(default_factory=dict)

    # From memory

    def of(self, volume: Volume) -> VolumeReport:
        users = self._users(volume)
        facts = self.volumes.facts
        return VolumeReport(
            volume,
            facts.find(volume.id),
            self._limits_known(volume),
            users,
            facts.is_current(volume.id, any(user.is_running for user in users)),
            self.measurer.is_counting(volume.id),
            self._pending.get(volume.id),
            self.volumes.others.told(volume),
            self.volumes.shared.remark(volume),
        )

    def _users(self, volume: Volume) -> tuple[VolumeUser, ...]:
        holders = self.volumes.holders(volume.name)
        if not holders:
            return ()
        users: list[VolumeUser] = []
        names = (volume.name, *volume.aliases)
        for container_id in holders:
            container = self.containers.get(container_id)
            if container is None:
                users.append(VolumeUser(container_id, container_id[:12], "", True, False))
                continue
            users += [
                VolumeUser(container.id, container.name, mount.destination, not mount.read_only, container.is_running)
                for mount in container.mounts
                if mount.kind is MountKind.VOLUME and mount.volume in names
            ]
        return tuple(users)

    def _limits_known(self, volume: Volume) -> Limits:
        if not volume.options:
            return _NO_LIMITS
        known = self._limits.get(volume.id)
        if known is not None and known.options == volume.options:
            return known.limits
        return _limits_asked_for(volume.options)

    # With a look at the disk

    def was_looked_at(self, volume: Volume) -> bool:
        """So short a time ago that what was seen then will do."""
        return self.clock() - self._looked_at.get(volume.id, 0) < LOOK_HOLDS_NS

    def look_at(self, volume: Volume) -> Volume:
        """With what is wrong with it now. Raises NoSuchVolume."""
        return self._looked_at_by(lambda: self.volumes.look_at(volume.name))

    def ask(self, volume: Volume) -> Question[StoredVolume] | None:
        """`look_at` for those who cannot wait, where its driver can be asked so: `told` takes the answer."""
        return self.volumes.others.ask(volume)

    def told(self, volume: Volume, question: Question[StoredVolume]) -> Volume | None:
        """None where the question was not heard. Raises NoSuchVolume."""
        if not self.volumes.others.is_told(volume, question):
            return None
        return self._looked_at_by(lambda: self.volumes.get(volume.name))

    def _looked_at_by(self, look: Callable[[], Volume]) -> Volume:
        now = self.clock()
        found = look()
        self._ask_limits(found)
        self._ask_pending(found)
        self._remember(self._looked_at, found, now)
        return found

    def _ask_pending(self, volume: Volume) -> None:
        driver = self.drivers.get(volume.driver)
        if volume.problem.startswith(HealthState.HANGING):
            return  # it would not answer
        if isinstance(driver, Uploading):
            try:
                pending = driver.pending(volume.name)
                self._pending[volume.id] = replace(pending, why=self.redactor.hide(pending.why)) if pending else None
            except (OrlopError, OSError) as error:
                log.info("what volume %s has still to upload cannot be told: %s", volume.name, error)
                self._pending.pop(volume.id, None)

    def list_reports(self, filters: Filters, wait_seconds: float = 0.0) -> list[VolumeReport]:
        """By name."""
        volumes, _ = self.volumes.list_volumes(filters)
        return self.look(volumes, wait_seconds)

    def look(self, volumes: Sequence[Volume], wait_seconds: float) -> list[VolumeReport]:
        """Whose figure is too old is counted anew in the background; for those that were never counted this waits, all
        in all no longer than so many seconds."""
        unknown: list[Future[Measurement | None]] = []
        for volume in volumes:
            self._ask_limits(volume)
            report = self.of(volume)
            if not report.is_current and not self._is_in_vain(report):
                result = self._count(volume)
                if not report.facts.measured_at_ns:
                    unknown.append(result)
        if unknown and wait_seconds > 0:
            self.measurer.await_all(unknown, wait_seconds)
        return [self.of(volume) for volume in volumes]

    def sizes(self, volumes: Sequence[Volume], seconds: float) -> dict[str, int]:
        """How much each holds now, by name; what was known of it where the count does not end in time, -1 where
        nothing is."""
        results = {volume.name: self._count(volume) for volume in volumes}
        self.measurer.await_all(list(results.values()), seconds)
        found: dict[str, int] = {}
        for volume in volumes:
            result = results[volume.name]
            counted = result.result() if result.done() and not result.cancelled() else None
            known = self.volumes.facts.find(volume.id).size_bytes
            found[volume.name] = counted.size_bytes if counted else -1 if result.done() else known
        return found

    def want(self, volume: Volume) -> None:
        """Have it counted some time soon, so that who asks next is told. Asks nobody now."""
        now = self.clock()
        if now - self._wanted.get(volume.id, 0) > IN_USE_NS:
            self._remember(self._wanted, volume, now)
            self._walk(volume)

    def _count(self, volume: Volume) -> "Future[Measurement | None]":
        driver = self.drivers.get(volume.driver)
        if volume.options and isinstance(driver, Usage):
            was_current = self.of(volume).is_current
            counted = self._counted(volume, driver)
            if counted is not None:
                if not was_current and not counted.last_write_ns:
                    self.want(volume)  # for the last write, which no counter knows
                return _ended(counted)
        return self._walk(volume)

    def _walk(self, volume: Volume) -> "Future[Measurement | None]":
        driver = self.drivers.get(volume.driver)
        if not isinstance(driver, Usage):
            return _ended(None)

        def walk(stop: Callable[[], bool]) -> Measurement | None:
            began_at = self.clock()
            counted = self._counted(volume, driver) if volume.options else None
            found = driver.measure(volume.name, stop)
            if counted is not None:
                self.volumes.facts.written(volume.id, found.last_write_ns if found else 0)
                return counted
            if found is not None:
                self.volumes.facts.measured(volume.id, found, began_at)
            elif not stop():
                self._remember(self._in_vain, volume, began_at)
            return found

        return self.measurer.count(volume.id, f"volume {volume.name}", walk)

    def _is_in_vain(self, report: VolumeReport) -> bool:
        """Whether it could not be told a moment ago, and nobody has used it since."""
        tried_at = self._in_vain.get(report.volume.id, 0)
        last_use = max(report.facts.last_mounted_at_ns, report.facts.last_unmounted_at_ns)
        return tried_at > last_use and self.clock() - tried_at < IN_USE_NS

    def _remember(self, moments: dict[str, int], volume: Volume, now: int) -> None:
        if len(moments) >= _MOST_REMEMBERED:
            moments.clear()
        moments[volume.id] = now

    def _counted(self, volume: Volume, driver: Usage) -> Measurement | None:
        try:
            found = driver.counted(volume.name)
        except (OrlopError, OSError):
            return None
        if found is not None:
            self.volumes.facts.measured(volume.id, found, self.clock())
        return found

    def _ask_limits(self, volume: Volume) -> None:
        known = self._limits.get(volume.id)
        if not volume.options or (known is not None and known.options == volume.options):
            return
        driver = self.drivers.get(volume.driver)
        if isinstance(driver, Limited):
            if len(self._limits) >= _MOST_REMEMBERED:
                self._limits.clear()
            try:
                self._limits[volume.id] = _KnownLimits(volume.options, driver.limits(volume.name))
            except (OrlopError, OSError):
                return  # what is wrong with it is told where its health is


def _ended(found: Measurement | None) -> "Future[Measurement | None]":
    result: Future[Measurement | None] = Future()
    result.set_result(found)
    return result


def _limits_asked_for(options: Mapping[str, str]) -> Limits:
    try:
        size = parse_size(options["size"]) if options.get("size") else 0
        return Limits(size, int(options.get("inodes") or 0))
    except ValueError:
        return Limits()
