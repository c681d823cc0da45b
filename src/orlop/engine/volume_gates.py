"""What moves of volumes to other hosts keep others from doing meanwhile, and after.

shut       a volume of this host that may be another host's in a moment: nobody begins to use or change it
reserved   names of volumes that are on their way here
left       containers of this host whose volume is on another host now: they get no other one of that name
"""

import threading
from collections.abc import Iterable
from dataclasses import replace

from orlop.errors import Conflict, Unavailable
from orlop.model.volume import Volume
from orlop.model.volume_move import Departure


class VolumeGates:
    """Thread-safe. Nothing here is remembered over a restart; whoever knows says it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut: dict[str, str] = {}  # by the volume's id
        self._reserved: dict[str, str] = {}
        self._left: dict[str, Departure] = {}

    # Volumes

    def shut(self, volume_id: str, why: str) -> None:
        with self._lock:
            self._shut[volume_id] = why

    def open(self, volume_id: str) -> None:
        with self._lock:
            self._shut.pop(volume_id, None)

    def check(self, subject: str, volume: Volume) -> None:
        """Called with the volume's lock, by whoever begins to use or change it. Raises Unavailable."""
        if why := self._shut.get(volume.id):
            raise Unavailable(subject, why, "Try again when that is over")

    # Names

    def reserve(self, names: Iterable[str], why: str) -> None:
        with self._lock:
            self._reserved.update(dict.fromkeys(names, why))

    def free(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._reserved.pop(name, None)

    def why_reserved(self, name: str) -> str:
        return self._reserved.get(name, "")

    # Containers that were left

    def leave(self, departure: Departure) -> None:
        with self._lock:
            self._left[departure.volume.id] = departure

    def forget(self, volume_id: str) -> None:
        with self._lock:
            self._left.pop(volume_id, None)

    def check_container(self, name: str, volume: Volume | None, container_id: str) -> None:
        """`volume` is what the name means now. Raises Conflict where the container's own one has left."""
        for departure in self._departed(name):
            own = (departure.volume.id, departure.copy_id)
            if container_id in departure.containers and (volume is None or volume.id not in own):
                raise Conflict(f"attaching volume {name}", why_gone(departure), _hint(departure))

    def check_made_by_the_way(self, name: str) -> None:
        """A volume that somebody means who does not say that it is to be made: an empty one would not be what is
        meant. Raises Conflict."""
        for departure in self._departed(name):
            if departure.is_replaced:
                continue
            hint = f"{_hint(departure)} For a new and empty one: docker volume create {name}"
            raise Conflict(f"volume {name}", why_gone(departure), hint)

    def replace(self, name: str) -> list[Departure]:
        """Somebody made another one of that name, and said so. What is to be in the journal for that."""
        changed = [replace(each, is_replaced=True) for each in self._departed(name) if not each.is_replaced]
        for departure in changed:
            self.leave(departure)
        return changed

    def _departed(self, name: str) -> list[Departure]:
        if not self._left:
            return []
        with self._lock:
            return [each for each in self._left.values() if name in (each.volume.name, *each.volume.aliases)]


def why_gone(departure: Departure) -> str:
    return f"it was moved to node {departure.target}"


def _hint(departure: Departure) -> str:
    return f"Start the container there, or bring it back, there: orlop volume move {departure.volume.name} --to NODE."
