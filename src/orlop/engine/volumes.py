"""Volumes: create, find, hold, retire, restore, purge."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orlop.model.filters import Filters
from orlop.model.mount import Mount
from orlop.model.volume import PruneReport, RetiredVolume, Volume


class Volumes:
    """Use cases of volumes. Thread-safe; locks are per volume name."""

    def create(
        self, name: str, driver: str, options: Mapping[str, str] | None, labels: Mapping[str, str] | None
    ) -> Volume:
        """The volume of that name, made if it is not there ("" = anonymous, a name of 64 hex)."""
        raise NotImplementedError

    def get(self, name: str) -> Volume:
        """Raises NoSuchVolume."""
        raise NotImplementedError

    def list_volumes(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        """Volumes and warnings."""
        raise NotImplementedError

    def remove(self, name: str, force: bool = False, reason: str = "volume rm") -> None:
        """Retire it. Raises NoSuchVolume (not with force), Conflict naming the holders."""
        raise NotImplementedError

    def prune(self, filters: Filters, include_named: bool) -> PruneReport:
        raise NotImplementedError

    def usage_bytes(self, name: str) -> int:
        raise NotImplementedError

    def holders(self, name: str) -> Sequence[str]:
        """Ids of the containers that hold it."""
        raise NotImplementedError

    # What is retired

    def list_retired(self) -> Sequence[RetiredVolume]:
        raise NotImplementedError

    def restore(self, reference: str, new_name: str = "") -> Volume:
        """By retired id, unique prefix of one, or name (the latest retired of that name). Raises NotFound, Conflict."""
        raise NotImplementedError

    def purge(self, reference: str) -> RetiredVolume:
        raise NotImplementedError

    # What containers need

    def hold(self, name: str, container_id: str) -> None:
        """The durable reference; taken at create."""
        raise NotImplementedError

    def release(self, name: str, container_id: str) -> None:
        raise NotImplementedError

    def attach(self, mount: Mount, container_id: str) -> Path:
        """Host path of the mount's data (its subpath, if it has one); emits `mount`."""
        raise NotImplementedError

    def detach(self, mount: Mount, container_id: str) -> None:
        raise NotImplementedError

    def populate(self, name: str, source_root: Path, source_path: str) -> None:
        """Copy the image's content at `source_path` (resolved beneath `source_root`) into an empty volume."""
        raise NotImplementedError
