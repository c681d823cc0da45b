"""The running containers that use a volume which is moved: who may go on as if nothing had been, and how.

A container that has nothing open on the volume is given the new mount in the place of the old, while it stands still:
it notices nothing. One that has (a file, a working directory, memory, a socket, a watch) would go on with the old one,
so it has to be stopped and started again.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from orlop.engine.mount_trees import MountTrees
from orlop.engine.standstill import Standstill
from orlop.errors import HostFailure, NotFound, OrlopError, Unsupported
from orlop.kernel.mount_users import Place, place_of_mount
from orlop.kernel.mounts import MountEntry, read_mounts
from orlop.kernel.namespace_mounts import replace_mount
from orlop.kernel.open_files import Place as OpenPlace
from orlop.kernel.open_files import find_open, mount_namespace
from orlop.model.container import Container, ContainerState
from orlop.model.mount import IdMapping, Mount, MountKind
from orlop.model.value import dataclass
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

REPLACING_SECONDS = 20.0
_AT_ONCE = 8
_SHARING = frozenset({"shared", "rshared", "slave", "rslave"})


@dataclass(frozen=True, slots=True)
class LiveUse:
    """A mount of the volume in a running container."""

    container: Container
    mount: Mount


class MoveUsers:
    """`containers` are all there are, `processes` gives the pids of one, `stop` and `start` are Lifecycle's for a
    while, `end` kills one."""

    def __init__(
        self,
        containers: Callable[[], Iterable[Container]],
        standstill: Standstill,
        processes: Callable[[Container], Sequence[int]],
        is_alive: Callable[[Container], bool],
        trees: MountTrees,
        stop: Callable[[str, str], bool],
        start: Callable[[str], None],
        end: Callable[[str], bool],
    ) -> None:
        self._containers = containers
        self._standstill = standstill
        self._processes = processes
        self._is_alive = is_alive
        self._trees = trees
        self._stop = stop
        self._start = start
        self._end = end

    def running(self, volume: Volume) -> list[LiveUse]:
        """Also those that are just being started or stopped."""
        return [use for use in self.of(volume) if use.container.is_running]

    def alive(self, volume: Volume) -> list[LiveUse]:
        """Those whose process is there: after a crash the journal may name one that ended meanwhile, and another may
        have its number."""
        return [use for use in self.running(volume) if self._is_alive(use.container)]

    def of(self, volume: Volume) -> list[LiveUse]:
        """Of containers that do not run, too."""
        names = (volume.name, *volume.aliases)
        return [
            LiveUse(container, mount)
            for container in self._containers()
            for mount in container.mounts
            if mount.kind is MountKind.VOLUME and mount.volume in names
        ]

    # Standing still

    def freeze(self, uses: Iterable[LiveUse], why: str) -> set[str]:
        """Ids of those that stand still now: all, or none where it raises."""
        frozen: set[str] = set()
        try:
            for container_id in dict.fromkeys(use.container.id for use in uses):
                self._standstill.begin_move(container_id, why)
                frozen.add(container_id)
        except BaseException:
            self.thaw(frozen)
            raise
        return frozen

    def thaw(self, container_ids: Iterable[str]) -> None:
        for container_id in container_ids:
            try:
                self._standstill.end_move(container_id)
            except (OrlopError, OSError) as error:
                log.error("container %s stands still, and is tried again soon: %s", container_id[:12], error)

    # Those that cannot go on

    def busy(self, uses: Iterable[LiveUse], place: Callable[[Mount, str], Place]) -> dict[str, str]:
        """By container's id, why it has to be stopped for a move. `place` is where a mount's data is now."""
        found: dict[str, str] = {}
        by_container: dict[str, list[LiveUse]] = {}
        for use in uses:
            by_container.setdefault(use.container.id, []).append(use)
        for container_id, mine in by_container.items():
            try:
                if why := self._why_busy(mine, place):
                    found[container_id] = why
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
        return found

    def _why_busy(self, uses: Sequence[LiveUse], place: Callable[[Mount, str], Place]) -> str:
        container = uses[0].container
        table = read_mounts(f"/proc/{container.status.pid}/mountinfo")
        places = []
        for use in uses:
            mount = use.mount
            entry = find_entry(table, mount.destination, place(mount, container.id))
            if entry is None:
                return f"its mount at {mount.destination} is not found in it"
            if mount.id_mapping is not IdMapping.NONE:
                return f"its mount at {mount.destination} maps ids"
            if mount.propagation in _SHARING:
                return f"its mount at {mount.destination} is {mount.propagation}"
            if any(other.parent_id == entry.id for other in table):
                return f"something is mounted within {mount.destination}"
            places.append(OpenPlace(entry.id, entry.mount_point, entry.device))
        opened = find_open(self._processes(container), mount_namespace(container.status.pid), places)
        return str(opened) if opened else ""

    def stop(self, container_ids: Collection[str], why: str) -> None:
        """All at once. Raises Unsupported where a start would not bring one back as it was; then none is stopped."""
        known = {container.id: container for container in self._containers()}
        for container in [known[each] for each in container_ids if each in known]:
            if container.status.state is ContainerState.PAUSED:
                why_not = "it is paused, and would run when it is started again"
                raise Unsupported(f"container {container.name}", why_not, "Unpause or stop it")
        with ThreadPoolExecutor(_AT_ONCE, "stopping") as pool:
            stopping = [pool.submit(self._stop_one, container_id, why) for container_id in container_ids]
        for each in stopping:
            each.result()

    def _stop_one(self, container_id: str, why: str) -> None:
        with suppress(NotFound):
            self._stop(container_id, why)

    def start_again(self, container_ids: Iterable[str]) -> list[str]:
        """What kept those that did not start, in words."""
        failed = []
        for container_id in container_ids:
            try:
                self._start(container_id)
            except NotFound:
                continue  # removed meanwhile
            except (OrlopError, OSError) as error:
                log.error("container %s was stopped for a move, and does not start: %s", container_id[:12], error)
                failed.append(str(error))
        return failed

    # Another mount

    def give(self, use: LiveUse, source: Path) -> None:
        """What is at `source` takes the place of what the container has, unless it has that. It stands still. Raises
        OSError and OrlopErrors; a container that has ended is success."""
        pid = use.container.status.pid
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            self._give(use, source, pid)
        finally:
            os.close(process)

    def _give(self, use: LiveUse, source: Path, pid: int) -> None:
        try:
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return
        try:
            table = read_mounts(f"/proc/{pid}/mountinfo")
            wanted = place_of_mount(source)
            if find_entry(table, use.mount.destination, wanted) is not None:
                return
            shown = [entry for entry in table if entry.mount_point == use.mount.destination]
            if not shown:
                raise HostFailure(f"mount at {use.mount.destination}", "it is not found in the container")
            tree = self._trees.open(use.mount, source, _no_ids)
            try:
                replace_mount(namespace, tree, shown[-1].mount_point, shown[-1].id, REPLACING_SECONDS)
            finally:
                os.close(tree)
        finally:
            os.close(namespace)

    def give_or_end(self, use: LiveUse, source: Path) -> None:
        """Whoever cannot be given what the volume is now must not go on with what it was."""
        try:
            self.give(use, source)
        except (OrlopError, OSError) as error:
            self.end(use.container, f"it cannot be given its volume {use.mount.volume}: {error}")

    def end(self, container: Container, why: str) -> None:
        log.error("container %s is killed: %s", container.name, why)
        try:
            self._end(container.id)
        except NotFound:
            return


def find_entry(table: Sequence[MountEntry], destination: str, place: Place) -> MountEntry | None:
    """What a container sees at `destination`, if that is what is at `place`."""
    shown = [entry for entry in table if entry.mount_point == destination]
    if shown and (shown[-1].device, shown[-1].root) == (place.device, place.path):
        return shown[-1]
    return None


def _no_ids(user: str) -> tuple[int, int]:
    raise Unsupported("giving another mount whose ids are mapped", "it cannot be made anew", "Restart the container")
