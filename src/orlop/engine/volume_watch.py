"""Watching the mounts of volumes that running containers use: found dead, hanging or away within seconds, told, mended.

    every round, one thread:  which volumes are in use -> their driver says how each mount is -> what changed is told
                              (log, event, the volume's problem) -> what is dead is mended by another thread

Nothing here waits for storage. What is found is never remembered: after a restart it is found again.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from orlop.drivers.volumes.abilities import Health, HealthState, Independent, Watched
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.events import Events
from orlop.engine.hang_policies import HangPolicies, Seen
from orlop.engine.volume_mending import VolumeMender
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import NotFound, OrlopError
from orlop.model.container import Container
from orlop.model.mount import Mount, MountKind
from orlop.model.value import dataclass
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
_SECONDS_A_VOLUME = 0.05  # so that the watching of very many costs no more than that of a few
_WELL = Health()


@dataclass(frozen=True, slots=True)
class LiveUse:
    """A mount of a volume in a running container."""

    container: Container
    mount: Mount


class VolumeWatch:
    """`containers` are all there are."""

    def __init__(
        self,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        events: Events,
        containers: Callable[[], Iterable[Container]],
        mender: VolumeMender,
    ) -> None:
        self._records = records
        self._drivers = drivers
        self._events = events
        self._containers = containers
        self._mender = mender
        self._found: dict[str, Health] = {}  # by the volume's id, of those that are not well
        self._affected: dict[str, list[Container]] = {}  # by the volume's id: whose storage it concerns
        self._unsure: set[str] = set()  # ids of those of which it cannot be told now
        self.policies: HangPolicies | None = None  # set by the composition root
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="volume watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._mender.stop()
        if self.policies:
            self.policies.stop()
        self._tell_drivers(())

    def problem_of(self, volume_id: str) -> str:
        """ "" where nothing is known to be wrong."""
        found = self._found.get(volume_id)
        return _render(found) if found else ""

    def count_by_state(self) -> Mapping[str, int]:
        """Of all states but ok."""
        counted = Counter(found.state.value for found in list(self._found.values()))
        told = [state for state in HealthState if state not in (HealthState.OK, HealthState.UNKNOWN)]
        return {state.value: counted[state.value] for state in told}

    def look(self) -> int:
        """One round. How many volumes were looked at."""
        watched = self._in_use()
        for volume, uses in watched.values():
            if self._stopping.is_set():
                return len(watched)
            try:
                self._unsure.discard(volume.id)
                self._look_at(volume, uses)
            except (OrlopError, OSError) as error:
                self._unsure.add(volume.id)
                log.warning("volume %s: how it is cannot be told: %s", volume.name, error)
        for volume_id in [known for known in self._found if known not in watched]:
            self._forget(volume_id)
        self._unsure &= watched.keys()
        self._affected = {known: it for known, it in self._affected.items() if known in watched}
        if self.policies and not self._stopping.is_set():
            self.policies.act([self._seen(volume, uses) for volume, uses in watched.values()])
        self._mender.watch_only(watched)
        self._tell_drivers({volume.name for volume, _ in watched.values()})
        return len(watched)

    def _seen(self, volume: Volume, uses: list[LiveUse]) -> Seen:
        health = self._found.get(volume.id, _WELL)
        if volume.id in self._unsure and health.state is HealthState.OK:
            health = Health(HealthState.UNKNOWN)
        affected = {container.id for container in self._affected.get(volume.id, ())}
        containers = {use.container.id: use.container for use in uses if use.container.id in affected or not affected}
        return Seen(volume, tuple(containers.values()), health)

    def _tell_drivers(self, names: Collection[str]) -> None:
        for driver in list(self._drivers.values()):
            if isinstance(driver, Watched):
                driver.watch_only(names)

    def _in_use(self) -> dict[str, tuple[Volume, list[LiveUse]]]:
        found: dict[str, tuple[Volume, list[LiveUse]]] = {}
        for container in self._containers():
            if not container.is_running:
                continue
            for mount in container.mounts:
                volume = self._records.find(mount.volume) if mount.kind is MountKind.VOLUME else None
                if volume is None or not self._mender.is_attached(mount, container.id):
                    continue
                driver = self._drivers.get(volume.driver)
                is_elsewhere = volume.mounts_its_content or isinstance(driver, Independent)
                if is_elsewhere and isinstance(driver, Watched):
                    found.setdefault(volume.id, (volume, []))[1].append(LiveUse(container, mount))
        return found

    def _look_at(self, volume: Volume, uses: list[LiveUse]) -> None:
        driver = self._drivers[volume.driver]
        assert isinstance(driver, Watched)
        if self._mender.is_at_work(volume.id):
            self._unsure.add(volume.id)
            self._mender.give_up_unneeded(volume, (use.container for use in uses))
            return
        try:
            health = driver.health(volume.name)
        except NotFound:
            return  # removed or renamed meanwhile
        if health.why:
            health = Health(health.state, self._records.redactor.hide(health.why))
        if health.state is HealthState.UNKNOWN:
            self._unsure.add(volume.id)
            return
        affected = [use.container for use in uses]
        if health.state is HealthState.OK:
            outdated = self._mender.outdated(volume, [(use.container, use.mount) for use in uses])
            if outdated:
                affected = outdated
                health = Health(HealthState.STALE, f"container {outdated[0].name} has a mount of it that is dead")
        if not all(self._mender.is_attached(use.mount, use.container.id) for use in uses):
            self._unsure.add(volume.id)
            return  # somebody lets go of it, so it may be on its way out: looked at again in the next round
        if health.state is HealthState.STALE:
            failure = self._mender.want(volume)
            health = Health(health.state, f"{health.why}; {failure}" if failure else health.why)
        self._affected[volume.id] = affected
        self._note(volume, health)

    def _note(self, volume: Volume, health: Health) -> None:
        before = self._found.get(volume.id, _WELL)
        if health.state is HealthState.OK:
            self._found.pop(volume.id, None)
        else:
            self._found[volume.id] = health
        if health != before or health.state is not HealthState.OK:
            self._records.mark(volume.name, self.problem_of(volume.id))
        if health.state is before.state:
            return
        level = logging.INFO if health.state is HealthState.OK else logging.WARNING
        log.log(level, "volume %s: %s", volume.name, _render(health))
        why = self._records.redactor.hide(health.why)
        attributes = {"driver": volume.driver} | ({"why": why} if why else {})
        self._events.publish("volume", f"health_status: {health.state}", volume.name, attributes)

    def _forget(self, volume_id: str) -> None:
        """Nobody uses it any more: the next use finds out."""
        del self._found[volume_id]
        for volume in self._records.all():
            if volume.id == volume_id:
                self._records.mark(volume.name, "")

    def _run(self) -> None:
        count = 0
        while not self._stopping.wait(max(ROUND_SECONDS, count * _SECONDS_A_VOLUME)):
            try:
                count = self.look()
            except Exception:
                log.exception("watching the volumes stumbled and goes on")


def _render(health: Health) -> str:
    return f"{health.state}: {health.why}" if health.why else health.state.value
