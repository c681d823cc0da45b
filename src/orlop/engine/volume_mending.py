"""Giving running containers the new mount of a volume whose mount died.

    1  the driver mounts the volume anew on the host                        (Mending.mend)
    2  each running container that still has the dead mount gets the new    (kernel/namespace_mounts.py)

What a container has is read from its own mount table, so a crash between the two, or a mount that was made anew for
somebody else, is found like any other dead mount. Until it is mended a container keeps the dead mount, and gets errors:
never the empty directory beneath it. Files that were open are lost to whoever had them open.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orlop.drivers.volumes.abilities import Interrupting, Mending, MountedAnew
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.mount_holders import MEND, MountHolders, mount_on
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mounts import VolumeMounts, use_id
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.kernel.mounts import MountEntry
from orlop.model.container import Container
from orlop.model.mount import Mount, MountKind
from orlop.model.value import dataclass
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

_AT_ONCE = 4
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0


class _NotYet(Unavailable):
    """Nothing was tried, so that it says nothing about how long the storage will be away."""


@dataclass(slots=True)
class _Attempts:
    next_at: float = 0.0
    pause_seconds: float = _FIRST_PAUSE_SECONDS
    is_under_way: bool = False
    failure: str = ""


class VolumeMender:
    """Thread-safe. `containers` are all there are; `holders` knows their mounts."""

    def __init__(
        self,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        mounts: VolumeMounts,
        holders: MountHolders,
        containers: Callable[[], Iterable[Container]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._drivers = drivers
        self._locks = locks
        self._mounts = mounts
        self._holders = holders
        self._containers = containers
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts: dict[str, _Attempts] = {}  # by the volume's id
        self._workers = ThreadPoolExecutor(_AT_ONCE, "mending")
        self.mended = 0
        self.lives: Callable[[Container], bool] = lambda container: Path(f"/proc/{container.status.pid}").exists()

    def stop(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    # What is wrong

    def outdated(self, volume: Volume, containers: Iterable[tuple[Container, Mount]]) -> list[Container]:
        """Those that have another mount than the one that is there now. Asked of a volume that is well on the host."""
        if not isinstance(self._drivers.get(volume.driver), Mending | MountedAnew):
            return []
        now = mount_on(volume.mountpoint)
        if now is None:
            return []
        return [container for container, mount in containers if self._holders.is_outdated(container, mount, now)]

    # Mending it

    def is_attached(self, mount: Mount, container_id: str) -> bool:
        return self._mounts.is_attached(mount, container_id)

    def is_at_work(self, volume_id: str) -> bool:
        with self._lock:
            attempts = self._attempts.get(volume_id)
            return attempts is not None and attempts.is_under_way

    def give_up_unneeded(self, volume: Volume, containers: Iterable[Container]) -> None:
        """Of a volume that is being mended: whoever had it has ended, and would wait to let go of it for as long as the
        storage is waited for."""
        driver = self._drivers.get(volume.driver)
        if isinstance(driver, Interrupting) and not any(map(self.lives, containers)):
            driver.interrupt(volume.name)

    def want(self, volume: Volume) -> str:
        """Have it mended, soon; what failed so far, for people."""
        driver = self._drivers.get(volume.driver)
        if not isinstance(driver, Mending):
            return "stop the containers that use it and start them again"
        with self._lock:
            attempts = self._attempts.setdefault(volume.id, _Attempts())
            if not attempts.is_under_way and self._clock() >= attempts.next_at:
                attempts.is_under_way = True
                self._workers.submit(self._try, volume.name, volume.id)
            return attempts.failure

    def watch_only(self, volume_ids: Collection[str]) -> None:
        with self._lock:
            for known in [known for known in self._attempts if known not in volume_ids]:
                if not self._attempts[known].is_under_way:
                    del self._attempts[known]

    def _try(self, name: str, volume_id: str) -> None:
        failure, was_tried = "", True
        try:
            if self.mend(name):
                self.mended += 1
        except (OrlopError, OSError) as error:
            was_tried = not isinstance(error, _NotYet)
            failure = f"mending it failed and is tried again: {error}"
        except Exception:
            log.exception("mending volume %s", name)
            failure = "mending it failed and is tried again"
        with self._lock:
            attempts = self._attempts[volume_id]
            if failure and failure != attempts.failure:
                log.warning("volume %s: %s", name, failure)
            if failure and was_tried:
                attempts.next_at = self._clock() + attempts.pause_seconds
                attempts.pause_seconds = min(2 * attempts.pause_seconds, _LONGEST_PAUSE_SECONDS)
            else:
                attempts.next_at = self._clock() + (_FIRST_PAUSE_SECONDS if failure else 0.0)
                attempts.pause_seconds = _FIRST_PAUSE_SECONDS
            attempts.failure = failure
            attempts.is_under_way = False

    def mend(self, name: str) -> bool:
        """False where nobody has it any more. Raises Unavailable while it is being mounted in a container, and whatever
        is in the way; what was mended until then stays mended."""
        with self._locks.hold([name]):
            volume = self._records.get(name)
            driver = self._drivers.get(volume.driver)
            uses = self._uses(volume)
            if not uses or not isinstance(driver, Mending):
                return False
            if self._mounts.mounting.is_under_way(volume.id) or self._holders.are_coming(volume.name):
                # Its path was handed out, and there must not be a moment at which that leads to an empty directory.
                raise _NotYet(f"mending volume {name}", "a container is about to mount it")
            faults.point(MEND, "mount", "before")
            path = driver.mend(volume.name, [use_id(mount, container.id) for container, mount in uses])
            faults.point(MEND, "mount", "after")
            self._mounts.require_answer(volume, path)
            self._records.place(volume.name, str(path), 0)
            now = mount_on(str(path))
            if now is None:
                raise HostFailure(f"mending volume {name}", f"nothing is mounted on {path}")
            failures = [failure for one in uses if (failure := self._give_new(one, path, now)) is not None]
        if failures:
            raise failures[0]
        log.info("volume %s was mounted anew, and %d running containers were given the new mount", name, len(uses))
        return True

    def _uses(self, volume: Volume) -> list[tuple[Container, Mount]]:
        names = (volume.name, *volume.aliases)
        return [
            (container, mount)
            for container in self._containers()
            if container.is_running
            for mount in container.mounts
            if mount.kind is MountKind.VOLUME
            and mount.volume in names
            and self._mounts.is_attached(mount, container.id)
        ]

    def _give_new(self, use: tuple[Container, Mount], path: Path, now: MountEntry) -> OrlopError | None:
        """What kept it from getting the mount; the others get theirs."""
        container, mount = use
        try:
            self._holders.give(container, mount, path, now)
        except ProcessLookupError:
            return None  # it ended meanwhile
        except OSError as error:
            subject = f"mount at {mount.destination} of container {container.name}"
            return HostFailure(subject, error.strerror or str(error), "Restart the container, and it has the new one")
        except OrlopError as error:
            return error
        return None
