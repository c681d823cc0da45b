"""Containers: the life cycle. Streams are in engine.sessions, files in engine.archives."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import BinaryIO

from orlop.engine.container_records import WaitResult
from orlop.model.container import Container, ContainerWish, LayerChange
from orlop.model.filters import Filters
from orlop.model.image import Image
from orlop.model.volume import PruneReport


class Containers:
    """Use cases of containers. Thread-safe; one lock a container. `reference` is an id, a unique id prefix or a name
    (with or without the leading slash); an unknown one raises NoSuchContainer."""

    def create(self, wish: ContainerWish) -> tuple[Container, Sequence[str]]:
        """The container and warnings."""
        raise NotImplementedError

    def start(self, reference: str) -> bool:
        """False: already running."""
        raise NotImplementedError

    def stop(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> bool:
        """False: already stopped. A negative timeout waits for ever."""
        raise NotImplementedError

    def kill(self, reference: str, signal: str = "") -> None:
        raise NotImplementedError

    def restart(self, reference: str, timeout_seconds: int | None = None, signal: str = "") -> None:
        raise NotImplementedError

    def pause(self, reference: str) -> None:
        raise NotImplementedError

    def unpause(self, reference: str) -> None:
        raise NotImplementedError

    def rename(self, reference: str, new_name: str) -> None:
        raise NotImplementedError

    def remove(self, reference: str, force: bool = False, remove_volumes: bool = False) -> None:
        raise NotImplementedError

    def get(self, reference: str) -> Container:
        raise NotImplementedError

    def list_containers(self, filters: Filters, all_containers: bool, limit: int = 0) -> Sequence[Container]:
        """Newest first."""
        raise NotImplementedError

    def wait(self, reference: str, condition: str) -> "Future[WaitResult]":
        """condition: not-running, next-exit, removed. Cancel the future to stop waiting."""
        raise NotImplementedError

    def prune(self, filters: Filters) -> PruneReport:
        raise NotImplementedError

    def top(self, reference: str, ps_arguments: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Titles and rows."""
        raise NotImplementedError

    def changes(self, reference: str) -> Sequence[LayerChange]:
        raise NotImplementedError

    def export(self, reference: str, out: BinaryIO) -> None:
        """The root file system as a tar, volumes left out."""
        raise NotImplementedError

    def commit(
        self, reference: str, image_reference: str, comment: str, author: str, pause: bool, changes: Sequence[str]
    ) -> Image:
        raise NotImplementedError

    def size_bytes(self, container: Container) -> tuple[int, int]:
        """Bytes of the writable layer, and of it with the image."""
        raise NotImplementedError
