"""How much images, containers and volumes take on the disk: `docker system df`.

Who asks while the same is being worked out gets that result. Storage that does not answer costs a deadline, once.
"""

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, TypeVar

from orlop.drivers.layers.driver import LayerDriver
from orlop.engine.container_records import ContainerRecords
from orlop.engine.images import Images
from orlop.engine.volume_reports import VolumeReports
from orlop.errors import NoSuchImage, OrlopError
from orlop.model.value import dataclass
from orlop.model.volume import DEFAULT_DRIVER

log = logging.getLogger(__name__)

T = TypeVar("T")
Sizes = tuple[tuple[str, int, int], ...]

VOLUMES_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DiskUsage:
    layers_bytes: int
    images: Sizes = ()  # id, size, containers
    containers: Sizes = ()  # id, writable bytes, rootfs bytes
    volumes: Sizes = ()  # name, size (-1: it cannot be told), references


class DiskUsages:
    """Thread-safe."""

    def __init__(
        self,
        records: ContainerRecords,
        images: Images,
        layers: LayerDriver,
        reports: VolumeReports,
        volumes_seconds: float = VOLUMES_SECONDS,
    ) -> None:
        self._records = records
        self._images = images
        self._layers = layers
        self._reports = reports
        self._volumes_seconds = volumes_seconds
        self._lock = threading.Lock()
        self._running: dict[str, Future[Any]] = {}

    def find(self, kinds: Collection[str]) -> DiskUsage:
        """`kinds`: container, image, volume. Walks what it measures."""
        return DiskUsage(
            layers_bytes=self._images.layers_bytes() if "image" in kinds else 0,
            images=self._shared("image", self._of_images) if "image" in kinds else (),
            containers=self._shared("container", self._of_containers) if "container" in kinds else (),
            volumes=self._shared("volume", self._of_volumes) if "volume" in kinds else (),
        )

    def _shared(self, kind: str, work_out: Callable[[], T]) -> T:
        with self._lock:
            running: Future[T] | None = self._running.get(kind)
            mine: Future[T] = Future()
            if running is None:
                self._running[kind] = mine
        if running is not None:
            return running.result()
        try:
            mine.set_result(work_out())
        except BaseException as error:  # noqa: BLE001 - it is raised below, and where others wait for it
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._running[kind]
        return mine.result()

    def _of_images(self) -> Sizes:
        found = self._images.list_images({}, True)
        return tuple((item.image.id, item.image.size_bytes, item.containers) for item in found)

    def _of_containers(self) -> Sizes:
        found: list[tuple[str, int, int]] = []
        for container in self._records.all():
            try:
                own = self._layers.size_bytes(container.layer_id)
            except (OrlopError, OSError) as error:
                log.warning("how much container %s wrote cannot be told: %s", container.name, error)
                own = -1
            try:
                below = self._images.of_container(container.image_id).size_bytes
            except NoSuchImage:
                below = 0
            found.append((container.id, own, max(own, 0) + below))
        return tuple(found)

    def _of_volumes(self) -> Sizes:
        """The bytes of those that mount something are on somebody else's disk."""
        volumes = self._reports.volumes
        here = [
            volume
            for volume in volumes.list_volumes({})[0]
            if volume.driver == DEFAULT_DRIVER and not volume.mounts_its_content
        ]
        sizes = self._reports.sizes(here, self._volumes_seconds)
        return tuple((volume.name, sizes[volume.name], len(volumes.holders(volume.name))) for volume in here)
