"""What follows for containers when a volume of theirs is not well, by the volume's option on-hang.

    wait     nothing: whoever touches the storage waits, or gets what errors it gives
    freeze   at once: its containers stand still, and go on when all their volumes are well
    kill     after a while: its containers are killed; a restart policy starts them when the storage is back
    fail     after a while: whoever waits for the storage gets an error

Whatever the option says: where a dead mount may not be replaced under those who have it, those with a restart policy
are killed, for the next start mounts it anew.

Decided anew each round from what is so now, so nothing is forgotten over a crash; done by threads of its own, for a
container's lock may be taken for long.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from orlop.drivers.volumes.abilities import Health, HealthState, Interrupting, MountedAnew
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.standstill import Standstill
from orlop.errors import NotFound, OrlopError
from orlop.model.container import Container
from orlop.model.on_hang import OnHang, policy_of
from orlop.model.value import dataclass
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

_AT_ONCE = 8
_SURE_SECONDS = 1.0  # seen more than once: a container is killed on it


@dataclass(frozen=True, slots=True)
class Seen:
    """A volume that running containers use, and how it is."""

    volume: Volume
    containers: tuple[Container, ...]
    health: Health


class HangPolicies:
    """`containers` are all there are; `end` kills one, and says whether it ended in good time."""

    def __init__(
        self,
        containers: Callable[[], Iterable[Container]],
        standstill: Standstill,
        end: Callable[[str], bool],
        drivers: Mapping[str, VolumeDriver],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._containers = containers
        self._standstill = standstill
        self._end = end
        self._drivers = drivers
        self._clock = clock
        self._since: dict[str, float] = {}  # by the volume's id: when it was not well for the first time
        self._lock = Lock()
        self._at_work: set[str] = set()
        self._refused: set[str] = set()  # containers that cannot be frozen, of which the log knows
        self._workers = ThreadPoolExecutor(_AT_ONCE, "on-hang")

    def stop(self) -> None:
        """Who stands still goes on doing so: the next daemon sees how the storage is then."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def act(self, seen: Sequence[Seen]) -> None:
        """One round. Waits for nobody."""
        self._note_since(seen)
        frozen: dict[str, str] = {}
        unsure: set[str] = set()
        ending: set[str] = set()
        for one in seen:
            ids = {container.id for container in one.containers}
            if one.health.state is HealthState.UNKNOWN:
                unsure |= ids
            elif one.health.state is not HealthState.OK:
                ending |= self._act_on(one)
                if policy_of(one.volume.options).on_hang is OnHang.FREEZE and not self._is_for_good(one):
                    frozen |= dict.fromkeys(ids, f"volume {one.volume.name} is {_render(one.health)}")
        for container in self._containers():
            why = frozen.get(container.id, "") if container.id not in ending else ""
            if why and not self._standstill.holds(container):
                self._submit(container.id, lambda id=container.id, why=why: self._freeze(id, why))  # type: ignore[misc]
            elif container.is_frozen and not why and container.id not in unsure:
                self._submit(container.id, lambda id=container.id: self._standstill.end(id))  # type: ignore[misc]

    def _note_since(self, seen: Sequence[Seen]) -> None:
        now = self._clock()
        unwell = {one.volume.id for one in seen if one.health.state is not HealthState.OK}
        self._since = {known: since for known, since in self._since.items() if known in unwell}
        for one in seen:
            if one.health.state not in (HealthState.OK, HealthState.UNKNOWN):
                self._since.setdefault(one.volume.id, now)

    def _is_for_good(self, one: Seen) -> bool:
        """Whether what these containers have mounted will never be well again."""
        driver = self._drivers.get(one.volume.driver)
        return one.health.state is HealthState.STALE and isinstance(driver, MountedAnew) and driver.mounts_anew

    def _act_on(self, one: Seen) -> set[str]:
        """Ids of the containers that are being killed."""
        volume = one.volume
        policy = policy_of(volume.options)
        seconds = self._clock() - self._since[volume.id]
        is_due = seconds >= max(policy.timeout_seconds, _SURE_SECONDS)
        doomed: list[Container] = []
        if policy.on_hang is OnHang.KILL and is_due:
            doomed = list(one.containers)
        elif self._is_for_good(one):
            doomed = [each for each in one.containers if _comes_back(each) and seconds >= _SURE_SECONDS]
        elif policy.on_hang is OnHang.FAIL and is_due and one.health.state is not HealthState.STALE:
            self._submit(volume.id, lambda: self._interrupt(volume))
        for container in doomed:
            self._submit(container.id, lambda container=container: self._kill(container, one))  # type: ignore[misc]
        return {container.id for container in doomed}

    # Done by the workers

    def _freeze(self, container_id: str, why: str) -> None:
        try:
            self._standstill.begin(container_id, why)
        except OrlopError as error:
            if container_id not in self._refused:
                log.warning("container %s cannot be frozen: %s", container_id[:12], error)
            self._refused.add(container_id)

    def _kill(self, container: Container, one: Seen) -> None:
        log.warning("container %s is killed: volume %s is %s", container.name, one.volume.name, _render(one.health))
        if not self._end(container.id) and one.health.state is not HealthState.STALE:
            # Not even SIGKILL ends what waits for it in the kernel.
            self._interrupt(one.volume)

    def _interrupt(self, volume: Volume) -> None:
        driver = self._drivers.get(volume.driver)
        if isinstance(driver, Interrupting):
            log.warning("volume %s: what waits for its storage gets errors", volume.name)
            driver.interrupt(volume.name)

    def _submit(self, key: str, work: Callable[[], object]) -> None:
        with self._lock:
            if key in self._at_work:
                return
            self._at_work.add(key)
        try:
            self._workers.submit(self._do, key, work)
        except RuntimeError:  # the daemon stops
            self._at_work.discard(key)

    def _do(self, key: str, work: Callable[[], object]) -> None:
        try:
            work()
        except NotFound:
            pass  # gone meanwhile
        except (OrlopError, OSError) as error:
            log.warning("what follows from storage that is not well: %s", error)
        except Exception:
            log.exception("what follows from storage that is not well")
        finally:
            with self._lock:
                self._at_work.discard(key)


def _comes_back(container: Container) -> bool:
    return container.host.restart_policy.name not in ("", "no") and not container.status.stopped_by_user


def _render(health: Health) -> str:
    return f"{health.state}: {health.why}" if health.why else health.state.value
