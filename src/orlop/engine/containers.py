"""Containers: the use cases of their life. Streams are in engine.sessions, files in engine.archives.

This is the front; the work is in container_create, lifecycle (start to exit) and container_steps (each step done and
undone). What a listing may filter by is in container_filters.
"""

import dataclasses
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import BinaryIO

from orlop.archive.pack import PackOptions
from orlop.archive.worker import pack_aside
from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.container_create import ContainerCreation
from orlop.engine.container_filters import check_filters, select
from orlop.engine.container_records import ContainerRecords, WaitResult
from orlop.engine.container_steps import ContainerSteps
from orlop.engine.executor import Executor
from orlop.engine.images import Images
from orlop.engine.layer_cleanup import LayerCleanup
from orlop.engine.layer_mounts import LayerMounts
from orlop.engine.lifecycle import Lifecycle
from orlop.engine.process_list import list_processes
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict, Malformed, NoSuchContainer, NoSuchImage, OrlopError
from orlop.model.changes import apply_changes
from orlop.model.container import (
    Container,
    ContainerConfig,
    ContainerState,
    ContainerWish,
    LayerChange,
)
from orlop.model.filters import Filters, require_known
from orlop.model.image import Image, ImageConfig
from orlop.model.names import parse_container_name
from orlop.model.volume import PruneReport
from orlop.planning.containers import plan_remove
from orlop.store.journal import Drop
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)


class Containers:
    """Thread-safe; one lock a container. `reference` is an id, a unique id prefix or a name (with or without the
    leading slash); an unknown one raises NoSuchContainer."""

    def __init__(
        self,
        records: ContainerRecords,
        creation: ContainerCreation,
        lifecycle: Lifecycle,
        steps: ContainerSteps,
        executor: Executor,
        layers: LayerDriver,
        mounts: LayerMounts,
        images: Images,
        volumes: Volumes,
        data_root: DataRoot,
        cleanup: LayerCleanup,
    ) -> None:
        self._records = records
        self._creation = creation
        self._lifecycle = lifecycle
        self._steps = steps
        self._executor = executor
        self._layers = layers
        self._mounts = mounts
        self._images = images
        self._volumes = volumes
        self._data_root = data_root
        self._cleanup = cleanup
        lifecycle.remove_automatically = self._remove_automatically
        self.removed: Callable[[str], None] = lambda container_id: None
        """Told of each container that is gone. Set by whoever puts the engine together."""

    # Life

    def create(self, wish: ContainerWish) -> tuple[Container, Sequence[str]]:
        """The container and warnings."""
        warnings = self._lifecycle.shortfalls(wish.host)
        container = self._creation.create(wish)
        self._lifecycle.emit(container, "create")
        return container, warnings

    def start(self, reference: str) -> bool:
        """False: already running."""
        return self._lifecycle.start(reference)

    def stop(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> bool:
        """False: already stopped. A negative timeout waits for ever."""
        return self._lifecycle.stop(reference, timeout_seconds, signal)

    def kill(self, reference: str, signal: str = "") -> None:
        self._lifecycle.kill(reference, signal)

    def restart(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> None:
        self._lifecycle.stop(reference, timeout_seconds, signal)
        self._lifecycle.start(reference)
        self._lifecycle.emit(self.get(reference), "restart")

    def pause(self, reference: str) -> None:
        self._lifecycle.pause(reference)

    def unpause(self, reference: str) -> None:
        self._lifecycle.unpause(reference)

    def rename(self, reference: str, new_name: str) -> None:
        if not new_name:
            raise Malformed("", "Neither old nor new names may be empty")
        name = parse_container_name(new_name)
        with self._records.locked(reference) as container:
            if name == container.name:
                raise Malformed("", "Renaming a container with the same name as its current name")
            self._records.reserve_name(name, container.id)
            try:
                self._records.save(dataclasses.replace(container, name=name))
            except OrlopError:
                self._records.remember(container)
                self._records.free_name(name, container.id)
                raise
            self._records.free_name(container.name, container.id)
        self._lifecycle.emit(self.get(container.id), "rename", {"oldName": f"/{container.name}"})

    def remove(self, reference: str, force: bool = False, remove_volumes: bool = False) -> None:
        container = self._records.find(reference)
        if container.is_running or container.status.state is ContainerState.RESTARTING:
            if not force:
                state = container.status.state
                advice = "unpause and stop" if state is ContainerState.PAUSED else "stop"
                raise Conflict(
                    f'cannot remove container "/{container.name}"',
                    f"container is {state}: {advice} the container before removing or force remove",
                )
            self._kill_for_removal(container)
        try:
            with self._records.locked(container.id) as container:
                if container.is_running:
                    raise Conflict(f'cannot remove container "/{container.name}"', "it was started again meanwhile")
                self._remove(container, remove_volumes)
        except NoSuchContainer:
            return  # --rm, or somebody else, was faster: it is so

    def _kill_for_removal(self, container: Container) -> None:
        try:
            self._lifecycle.kill(container.id, "KILL")
        except (Conflict, NoSuchContainer):
            return  # it ended meanwhile

    def _remove(self, container: Container, remove_volumes: bool) -> None:
        """Called with the container's lock."""
        self._executor.run(plan_remove(container, remove_volumes), outcome=lambda: [Drop("containers", container.id)])
        self._records.forget(container)
        self._cleanup.request()
        self.removed(container.id)
        self._lifecycle.emit(container, "destroy")
        # A wait's error is about the waiting; that a start failed was said to who started it.
        self._records.wake(
            container.id, ("removed", "next-exit", "not-running"), WaitResult(container.status.exit_code)
        )
        self._images.collect()

    def _remove_automatically(self, container: Container) -> None:
        """--rm: the container goes, and its anonymous volumes with it."""
        try:
            with self._records.locked(container.id) as now:
                if not now.is_running:
                    self._remove(now, remove_volumes=True)
        except NoSuchContainer:
            return  # somebody was faster
        except OrlopError as error:
            log.error("removing container %s after its exit: %s", container.id, error)
            self._records.wake(container.id, ("removed",), WaitResult(container.status.exit_code, error.message))

    # Finding

    def get(self, reference: str) -> Container:
        return self._now(self._records.find(reference))

    def _now(self, container: Container) -> Container:
        """Its volumes may have moved since it was created."""
        mounts = self._volumes.with_current_sources(container.mounts)
        return container if mounts == container.mounts else dataclasses.replace(container, mounts=mounts)

    def list_containers(self, filters: Filters, all_containers: bool, limit: int = 0) -> Sequence[Container]:
        """Newest first."""
        check_filters(filters)
        found = select(
            self._records.all(),
            filters,
            all_containers,
            limit,
            self._records.find,
            self._image_family,
            self._volumes.names_of,
        )
        return [self._now(container) for container in found]

    def _image_family(self, reference: str) -> set[str]:
        """The ids an `ancestor` filter means."""
        try:
            return {self._images.resolve(reference).id}
        except NoSuchImage:
            return set()

    def wait(self, reference: str, condition: str) -> "Future[WaitResult]":
        """condition: not-running, next-exit, removed. Cancel the future to stop waiting."""
        if condition not in ("not-running", "next-exit", "removed"):
            raise Malformed("", f'invalid condition: "{condition}"', "Use not-running, next-exit or removed")
        return self._lifecycle.wait(self._records.find(reference).id, condition)

    def prune(self, filters: Filters) -> PruneReport:
        """Remove every container that does not run; volumes stay."""
        require_known(filters, ("label", "label!", "until"))
        removed: list[str] = []
        reclaimed = 0
        wanted = {**filters, "status": ("created", "exited", "dead")}
        for container in self.list_for_prune(wanted):
            try:
                size = self._layers.size_bytes(container.layer_id)
                self.remove(container.id)
            except OrlopError as error:
                log.warning("container %s was not pruned: %s", container.id, error)
                continue
            removed.append(container.id)
            reclaimed += size
        self._lifecycle.publish_prune("container", reclaimed)
        return PruneReport(tuple(removed), reclaimed)

    def list_for_prune(self, filters: Filters) -> Sequence[Container]:
        return select(
            self._records.all(), filters, True, 0, self._records.find, self._image_family, self._volumes.names_of
        )

    def top(self, reference: str, ps_arguments: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows."""
        container = self._records.find(reference)
        if not container.is_running:
            raise Conflict("", f"container {container.id} is not running")
        return list_processes(self._steps.runtime_of(container).processes(container.id), ps_arguments)

    # The file system

    def changes(self, reference: str) -> Sequence[LayerChange]:
        return self._layers.changes(self._records.find(reference).layer_id)

    def export(self, reference: str, out: BinaryIO) -> None:
        """The root file system as a tar, volumes left out."""
        container = self._records.find(reference)
        if container.status.state in (ContainerState.REMOVING, ContainerState.DEAD):
            raise Conflict("", f"You cannot export container {container.id} which is being removed")
        with self._mounts.mounted(container.layer_id, f"export-{secrets.token_hex(4)}") as rootfs:
            pack_aside(rootfs, out, PackOptions(sparse=False))
        self._lifecycle.emit(container, "export")

    def commit(
        self, reference: str, image_reference: str, comment: str, author: str, pause: bool, changes: Sequence[str]
    ) -> Image:
        """A new image from the container's writable layer and configuration. Volumes' data is not part of it."""
        container = self._records.find(reference)
        if container.status.state in (ContainerState.REMOVING, ContainerState.DEAD):
            raise Conflict("", f"You cannot commit container {container.id} which is being removed")
        parent = self._images.of_container(container.image_id)
        config = apply_changes(_image_config(container, self._images.config(parent)), changes)
        archive = self._data_root.incoming / f"commit-{secrets.token_hex(8)}.tar"
        freeze = pause and container.status.state is ContainerState.RUNNING
        try:
            if freeze:
                self.pause(container.id)
            try:
                with archive.open("wb") as out:
                    self._layers.write_changes_tar(container.layer_id, out)
            finally:
                if freeze:
                    self.unpause(container.id)
            image = self._images.create_from_layer(
                archive,
                parent,
                config,
                image_reference,
                comment,
                author,
                " ".join((container.path, *container.args)),
                _silent,
            )
        finally:
            archive.unlink(missing_ok=True)
        self._lifecycle.emit(
            container, "commit", {"comment": comment, "imageID": image.id, "imageRef": image_reference}
        )
        return image

    def size_bytes(self, container: Container) -> tuple[int, int]:
        """Bytes of the writable layer, and of it with the image."""
        own = self._layers.size_bytes(container.layer_id)
        try:
            return own, own + self._images.of_container(container.image_id).size_bytes
        except NoSuchImage:
            return own, own

    def describe_layer(self, container: Container) -> Mapping[str, str]:
        """Where the writable layer and those below it are, in the words of the layer driver."""
        return self._layers.describe(container.layer_id)

    def update(self, reference: str, change: Callable[[Container], Container]) -> Container:
        """The container with other settings; what of them may be changed now is the caller's to judge."""
        with self._records.locked(reference) as container:
            changed = change(container)
            try:
                self._records.save(changed)
            except OrlopError:
                self._records.remember(container)
                raise
        self._lifecycle.emit(changed, "update")
        return changed


def _silent(_: str) -> None:
    """Nobody listens to the progress of a commit."""


def _image_config(container: Container, image: ImageConfig) -> ImageConfig:
    config: ContainerConfig = container.config
    return dataclasses.replace(
        image,
        env=config.env,
        entrypoint=config.entrypoint,
        command=config.command,
        user=config.user,
        workdir=config.workdir,
        volumes=config.volumes,
        exposed_ports=config.exposed_ports,
        labels=config.labels,
        stop_signal=config.stop_signal,
    )
