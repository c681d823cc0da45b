"""How each step of a container's plans is done and undone. The plans are in orlop.planning.containers.

`do` and `undo` may be called again after a crash with nothing but the step: what was found out in earlier steps of the
same start is kept in `_found` and is needed only by later steps of that very start.
"""

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.runtimes.driver import Runtime, StartedProcess
from orlop.engine.container_files import write_generated_files
from orlop.engine.container_records import ContainerRecords
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.layer_mounts import LayerMounts
from orlop.engine.mount_places import MountPlaces
from orlop.engine.networks import Networks
from orlop.engine.rootfs import make_directories, refuse_file
from orlop.engine.strayed_mounts import refuse_bare, refuse_strayed
from orlop.engine.surroundings import find_surroundings
from orlop.engine.volumes import Volumes
from orlop.errors import Malformed, NoSuchContainer, NoSuchVolume, OrlopError
from orlop.model.container import Container, ContainerState, HostConfig, with_status
from orlop.model.mount import Mount, MountKind
from orlop.model.network import NetworkAttachment
from orlop.model.value import dataclass
from orlop.planning.bundles import build_bundle
from orlop.planning.plan import Plan, Step
from orlop.store.files import remove_tree, sync_directory
from orlop.store.journal import Change, Drop
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)

LOG_FILE = "container.log"


@dataclass(slots=True)
class _Found:
    """What one start has found out so far."""

    rootfs: Path = Path()
    sources: dict[str, Path] = field(default_factory=dict)
    network: NetworkAttachment | None = None
    process: StartedProcess | None = None


class ContainerSteps:
    def __init__(
        self,
        records: ContainerRecords,
        layers: LayerDriver,
        mounts: LayerMounts,
        volumes: Volumes,
        networks: Networks,
        runtimes: Mapping[str, Runtime],
        default_runtime: str,
        data_root: DataRoot,
        places: MountPlaces,
    ) -> None:
        self._records = records
        self._layers = layers
        self._mounts = mounts
        self._volumes = volumes
        self._networks = networks
        self._runtimes = runtimes
        self._default_runtime = default_runtime
        self._data_root = data_root
        self._places = places
        self._guard = threading.Lock()
        self._found: dict[str, _Found] = {}

    def register(self, executor: Executor) -> None:
        cleanup = {
            "process.delete": StepActions(self._delete_process),
            "volume.detach": StepActions(self._detach_volume),
            "layer.unmount": StepActions(self._unmount_layer),
            "network.leave": StepActions(self._leave_network),
        }
        create = {
            "layer.create": StepActions(self._create_layer, self._remove_layer),
            "volume.hold": StepActions(self._hold_volume, self._release_volume),
            "layer.mount": StepActions(self._mount_layer, self._unmount_layer),
            "volume.populate": StepActions(self._populate_volume),
            "layer.unmount": StepActions(self._unmount_layer),
            "directory.create": StepActions(self._create_directory, self._remove_directory),
        }
        start = {
            "network.join": StepActions(self._join_network, self._leave_network),
            "layer.mount": StepActions(self._mount_layer, self._unmount_layer),
            "volume.attach": StepActions(self._attach_volume, self._detach_volume),
            "process.create": StepActions(self._create_process, self._delete_process),
        }
        remove = {
            **cleanup,
            "container.mark": StepActions(self._mark),
            "layer.remove": StepActions(self._remove_layer),
            "volume.release": StepActions(self._release_volume),
            "volume.retire": StepActions(self._retire_volume),
            "directory.remove": StepActions(self._remove_directory),
        }
        executor.register(OperationKind("container.create", create, "undo"))
        executor.register(OperationKind("container.start", start, "undo"))
        executor.register(OperationKind("container.cleanup", cleanup, "finish"))
        executor.register(OperationKind("container.remove", remove, "finish", self._removed))

    # What a start found out

    def begin_start(self, container_id: str) -> None:
        with self._guard:
            self._found[container_id] = _Found()

    def end_start(self, container_id: str) -> tuple[StartedProcess, NetworkAttachment | None]:
        """Of a plan that went through."""
        with self._guard:
            found = self._found.pop(container_id)
        self._volumes.mounted(container_id)
        assert found.process is not None
        return found.process, found.network

    def abandon_start(self, container_id: str) -> None:
        """Of a plan that was undone."""
        with self._guard:
            self._found.pop(container_id, None)
        self._volumes.mounted(container_id)

    def runtime_of(self, container: Container) -> Runtime:
        return self._runtime_named(container.host.runtime or self._default_runtime)

    def shortfalls(self, host: HostConfig) -> Sequence[str]:
        if not self._runtimes:
            return ()  # `start` will say what is missing
        return self._runtime_named(host.runtime or self._default_runtime).shortfalls(host.resources, host.ulimits)

    def _runtime_named(self, name: str) -> Runtime:
        if name not in self._runtimes:
            known = ", ".join(sorted(self._runtimes)) or "none is installed"
            raise Malformed("", f"unknown or invalid runtime name: {name}", f"Runtimes that work here: {known}")
        return self._runtimes[name]

    # Layers

    def _create_layer(self, step: Step) -> None:
        self._layers.create_writable(step.subject, step.arguments["parent"])

    def _remove_layer(self, step: Step) -> None:
        if self._layers.is_mounted(step.subject):
            self._mounts.evict(step.subject)
        self._layers.remove(step.subject)
        self._mounts.forget(step.subject)

    def _mount_layer(self, step: Step) -> None:
        path = self._mounts.acquire(step.subject, "process")
        container_id = step.arguments.get("container")
        if container_id:
            self._found[container_id].rootfs = path

    def _unmount_layer(self, step: Step) -> None:
        self._mounts.release(step.subject, "process")

    # Volumes

    def _hold_volume(self, step: Step) -> None:
        self._volumes.hold(step.subject, step.arguments["container"])

    def _release_volume(self, step: Step) -> None:
        self._volumes.release(step.subject, step.arguments["container"])

    def _retire_volume(self, step: Step) -> None:
        if self._volumes.holders(step.subject):
            return  # another container still uses it; it stays, as Docker leaves it
        try:
            self._volumes.remove(step.subject, reason="removed with its container")
        except NoSuchVolume:
            return
        except (OrlopError, OSError) as error:
            # The container goes all the same; its volume can be removed by name once the reason is mended.
            log.warning("volume %s is not removed with its container: %s", step.subject, error)

    def _populate_volume(self, step: Step) -> None:
        rootfs = self._mounts.acquire(step.arguments["layer"], "process")
        make_directories(rootfs, step.arguments.get("workdir", ""))
        if step.arguments.get("refuse_file"):
            refuse_file(rootfs, step.arguments["destination"])
        subpath = step.arguments.get("subpath", "")
        self._volumes.populate(step.subject, rootfs, step.arguments["destination"], subpath)

    def _attach_volume(self, step: Step) -> None:
        container = self._container(step.arguments["container"])
        mount = self._mount_at(container, step.arguments["at"])
        path = self._volumes.attach(mount, container.id)
        self._found[container.id].sources[mount.destination] = path

    def _detach_volume(self, step: Step) -> None:
        container = self._records.get(step.arguments["container"])
        if container is not None:
            self._volumes.detach(self._mount_at(container, step.arguments["at"]), container.id)

    # Networks

    def _join_network(self, step: Step) -> None:
        container = self._container(step.subject)
        attachment = self._join(container)
        self._found[container.id].network = attachment

    def _join(self, container: Container) -> NetworkAttachment:
        mode = "none" if container.config.network_disabled else container.host.network_mode
        if mode.startswith("container:"):
            return self._networks.share(self._records.find(mode.partition(":")[2]))
        return self._networks.join(mode, container.id, container.config.mac_address)

    def _leave_network(self, step: Step) -> None:
        container = self._records.get(step.subject)
        attachment = container.network if container else None
        with self._guard:
            found = self._found.get(step.subject)
        if found is not None and found.network is not None:
            attachment = found.network
        if attachment is not None:
            self._networks.leave(attachment, step.subject)
        elif container is not None and container.host.network_mode in ("default", "bridge"):
            # A crash between joining and remembering: the driver knows by the container's id alone.
            self._networks.leave(NetworkAttachment(network="bridge"), step.subject)

    # The process

    def _create_process(self, step: Step) -> None:
        container = self._container(step.subject)
        # A volume may have moved to another driver since the container was created.
        container = dataclasses.replace(container, mounts=self._volumes.with_current_sources(container.mounts))
        found = self._found[container.id]
        directory = self._data_root.container(container.id)
        make_directories(found.rootfs, container.config.workdir)
        write_generated_files(directory, container, found.network)
        surroundings = find_surroundings(
            container, self._records.find, directory, directory / LOG_FILE, found.rootfs, found.sources, found.network
        )
        with self._places.placed(container, surroundings) as placed:
            made = dataclasses.replace(container, mounts=placed.mounts)
            bundle = build_bundle(made, dataclasses.replace(surroundings, sources=placed.sources))
            found.process = self.runtime_of(container).create(bundle)
        try:
            refuse_strayed(made, found.process.pid)
            refuse_bare(made, found.process.pid, found.sources)
        except OrlopError:
            self.runtime_of(container).delete(container.id)
            raise

    def _delete_process(self, step: Step) -> None:
        container = self._records.get(step.subject)
        if container is None:
            return
        self.runtime_of(container).delete(container.id)

    # The container's folder and record

    def _create_directory(self, step: Step) -> None:
        directory = self._data_root.container(step.subject)
        directory.mkdir(mode=0o710, exist_ok=True)
        sync_directory(directory.parent)

    def _remove_directory(self, step: Step) -> None:
        remove_tree(self._data_root.container(step.subject))

    def _mark(self, step: Step) -> None:
        container = self._records.get(step.subject)
        if container is not None:
            self._records.save(with_status(container, state=ContainerState.REMOVING))

    def _removed(self, plan: Plan) -> list[Change]:
        return [Drop("containers", plan.subject)]

    def _container(self, container_id: str) -> Container:
        container = self._records.get(container_id)
        if container is None:
            raise NoSuchContainer(container_id)
        return container

    @staticmethod
    def _mount_at(container: Container, destination: str) -> Mount:
        return next(
            mount for mount in container.mounts if mount.destination == destination and mount.kind is MountKind.VOLUME
        )
