"""After a start of the daemon: what the journal wishes, what the drivers hold and what the kernel runs, made one again.

    1  each intent left in the journal is undone or finished (executor)
    2  managed plugins that run are taken over; those that should and do not are started once the API is served
    3  containers that were running: still alive -> taken over; ended meanwhile -> treated as an exit now
    4  networks are told who is in; everything else of theirs goes
    5  containers that do not run: whatever is left of their last run is put away
    6  containers marked for removal go
    7  layers, folders and uploads that nobody knows go
    8  restart policies, once the API is served

Each part reports what it did and goes on after a failure: one broken container must not keep the others from running.
"""

import logging
from collections.abc import Mapping

from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.runtimes.driver import Exit, Runtime
from orlop.engine.container_records import ContainerRecords
from orlop.engine.container_steps import ContainerSteps
from orlop.engine.containers import Containers
from orlop.engine.endings import process_of
from orlop.engine.executor import Executor
from orlop.engine.images import Images
from orlop.engine.layer_mounts import LayerMounts
from orlop.engine.lifecycle import Lifecycle
from orlop.engine.mount_places import MountPlaces
from orlop.engine.networks import Networks
from orlop.engine.plugins import Plugins
from orlop.engine.views import Views
from orlop.engine.volumes import Volumes
from orlop.errors import OrlopError, Unavailable
from orlop.model.container import Container, ContainerState, with_status
from orlop.model.mount import MountKind
from orlop.store.files import remove_tree
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)

_UNKNOWN_EXIT_CODE = 255  # as Docker reports an end that nobody saw, after a reboot


class Recovery:
    def __init__(
        self,
        records: ContainerRecords,
        containers: Containers,
        lifecycle: Lifecycle,
        steps: ContainerSteps,
        executor: Executor,
        layers: LayerDriver,
        mounts: LayerMounts,
        images: Images,
        volumes: Volumes,
        networks: Networks,
        views: Views,
        places: MountPlaces,
        runtimes: Mapping[str, Runtime],
        data_root: DataRoot,
        plugins: Plugins,
    ) -> None:
        self._plugins = plugins
        self._records = records
        self._containers = containers
        self._lifecycle = lifecycle
        self._steps = steps
        self._executor = executor
        self._layers = layers
        self._mounts = mounts
        self._images = images
        self._volumes = volumes
        self._networks = networks
        self._views = views
        self._places = places
        self._runtimes = runtimes
        self._data_root = data_root

    def run(self) -> None:
        """Before the API is served."""
        self._lifecycle.restarts.are_held = True  # or it would be started while networks and volumes are put in order
        for report in self._executor.recover():
            log.info("recovery: %s", report)
        for report in self._plugins.recover():
            log.info("recovery: %s", report)
        known = {container.id for container in self._records.all()}
        for report in [*self._volumes.reconcile(), *self._volumes.release_unknown(known)]:
            log.info("recovery: %s", report)
        self._views.reconcile(self._records.get)
        self._places.clear()
        alive: list[Container] = []
        for container in self._records.all():
            try:
                if container.is_running and self._take_over(container):
                    alive.append(container)
            except (OrlopError, OSError) as error:
                log.error("recovering container %s: %s", container.name, error)
                self._remember_volumes(container)  # it may well run, and then it has them
        self._volumes.detach_others()
        self._networks.restore([(item.id, item.network) for item in alive if item.network is not None])
        for container in self._records.all():
            if not container.is_running:
                self._put_away(container)
        self._remove_marked()
        self._remove_unknown()

    def go_on(self) -> None:
        """Once the API is served."""
        self._lifecycle.restarts.are_held = False
        self._plugins.go_on()
        self._start_by_policy()
        try:
            for report in self._volumes.look_closely():
                log.warning("%s", report)
        except (OrlopError, OSError) as error:
            log.error("looking at the volumes: %s", error)

    def _start_by_policy(self) -> None:
        """Containers that are to run whenever the daemon does."""
        for container in self._records.all():
            policy, status = container.host.restart_policy.name, container.status
            wanted = policy == "always" or (policy == "unless-stopped" and not status.stopped_by_user)
            # What was created and never started stays so; what its user stopped comes back only with "always".
            due = wanted and status.started_at_ns > 0
            if not container.is_running and (due or status.state is ContainerState.RESTARTING):
                try:
                    if self._volumes.others.are_needed(container.mounts):
                        self._lifecycle.start_when_possible(container.id)  # and nobody else waits with it
                    else:
                        self._containers.start(container.id)
                except Unavailable as error:
                    log.warning("starting container %s by its restart policy: %s", container.name, error)
                    self._lifecycle.start_when_possible(container.id)
                except OrlopError as error:
                    log.warning("starting container %s by its restart policy: %s", container.name, error)

    def _take_over(self, container: Container) -> bool:
        """True when the container still runs, and is ours to watch again."""
        runtime = self._steps.runtime_of(container)
        if container.status.starting:
            if not runtime.is_started(container.id):
                log.info("recovery: container %s was about to start and did not", container.name)
                self._records.save(
                    with_status(container, state=ContainerState.CREATED, starting=False, pid=0, supervisor_pid=0)
                )
                return False
            container = with_status(container, starting=False)
            self._records.save(container)
        if not runtime.is_alive(process_of(container)):
            ended = runtime.exit_of(container.id) or Exit(container.id, "", _UNKNOWN_EXIT_CODE, False, 0)
            log.info("recovery: container %s ended with %d meanwhile", container.name, ended.exit_code)
            self._lifecycle.ended(ended)
            return False
        self._mounts.acquire(container.layer_id, "process")
        self._remember_volumes(container)
        self._lifecycle.watch_again(container)
        return True

    def _remember_volumes(self, container: Container) -> None:
        for mount in container.mounts:
            if mount.kind is MountKind.VOLUME:
                self._volumes.remember_attached(mount, container.id)

    def _put_away(self, container: Container) -> None:
        """Cheap where there is nothing: only what the drivers say is there is swept."""
        try:
            left = self._layers.is_mounted(container.layer_id) or any(
                container.id in runtime.list_containers() for runtime in self._runtimes.values()
            )
            if left or container.network is not None:
                log.info("recovery: putting away what the last run of %s left", container.name)
                self._lifecycle.sweep(container)
        except (OrlopError, OSError) as error:
            log.error("putting away what container %s left: %s", container.name, error)

    def _remove_marked(self) -> None:
        for container in self._records.all():
            if container.status.state is ContainerState.REMOVING:
                try:
                    self._containers.remove(container.id)
                    log.info("recovery: removed container %s, as asked before", container.name)
                except OrlopError as error:
                    log.error("removing container %s: %s", container.name, error)

    def _remove_unknown(self) -> None:
        known = {container.id for container in self._records.all()}
        layers = {container.layer_id for container in self._records.all()}
        try:
            for runtime in self._runtimes.values():
                for container_id in runtime.list_containers():
                    if container_id not in known:
                        runtime.delete(container_id)
            for directory in self._data_root.containers.iterdir():
                if directory.name not in known:
                    log.info("recovery: removing the folder of an unknown container, %s", directory.name)
                    remove_tree(directory)
            self._images.reconcile(layers)
        except (OrlopError, OSError) as error:
            log.error("removing what nobody knows: %s", error)
