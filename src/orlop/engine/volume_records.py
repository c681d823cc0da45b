"""What the daemon remembers of volumes: in memory for reading, in the journal for good.

Memory changes only after the journal has the change, so a failed commit leaves both as they were.

A volume is found by its name and by every name it had before and still answers to (an alias). A container holds it by
one of them, the one it was created with.
"""

import dataclasses
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from orlop.engine.redactor import Redactor
from orlop.engine.volume_gates import VolumeGates
from orlop.errors import Conflict, NoSuchVolume, NotFound
from orlop.model.mount import Mount
from orlop.model.volume import RetiredVolume, Volume, VolumeUse
from orlop.store.journal import Change, Drop, Journal, Put


class VolumeRecords:
    def __init__(self, journal: Journal, redactor: Redactor | None = None) -> None:
        self._journal = journal
        self.redactor = redactor or Redactor()
        self._lock = threading.Lock()
        self._volumes: dict[str, Volume] = {}
        self._aliases: dict[str, str] = {}  # to the names of their volumes
        self._retired: dict[str, RetiredVolume] = {}
        self._holders: dict[str, dict[str, VolumeUse]] = {}  # in the order of coming
        self._moving: dict[str, str] = {}  # ids of volumes that are being moved, and where to
        self._loaded_at = -1
        self.version = 0  # another one after each change of what `all` tells
        self.gates = VolumeGates()
        self.elsewhere: Callable[[str], str] = lambda name: ""
        """Why a name is taken that no volume of this host has. Set by who knows of other hosts."""

    def load(self) -> None:
        if self._loaded_at == (changed_at := self._journal.changes):
            return  # nothing was written since: ten thousand volumes need not be read twice at a start
        self._loaded_at = changed_at
        volumes = self._journal.load("volumes", Volume)
        retired = self._journal.load("retired", RetiredVolume)
        uses = self._journal.load("uses", VolumeUse)
        with self._lock:
            self.version += 1
            self._volumes, self._retired, self._holders = volumes, retired, {}
            self._aliases = {alias: volume.name for volume in volumes.values() for alias in volume.aliases}
            for use in uses.values():
                self._holders.setdefault(use.volume, {})[use.container_id] = use

    # Volumes

    def find(self, name: str) -> Volume | None:
        """By its name or an alias."""
        with self._lock:
            return self._find(name)

    def get(self, name: str) -> Volume:
        volume = self.find(name)
        if volume is None:
            raise NoSuchVolume(name)
        return volume

    def why_taken(self, name: str) -> str:
        """By which volume of this host, or of its cluster; "" where it is free."""
        taken = self.find(name)
        if taken is None:
            return self.elsewhere(name)
        return f"the volume {name} exists" if taken.name == name else f"{name} is another name of {taken.name}"

    def real_name(self, name: str) -> str:
        """The name of the volume that `name` means; `name` itself where there is none."""
        volume = self.find(name)
        return volume.name if volume else name

    @property
    def count(self) -> int:
        return len(self._volumes)

    def all(self) -> list[Volume]:
        with self._lock:
            return sorted(self._volumes.values(), key=lambda volume: volume.name)

    def with_current_sources(self, mounts: Iterable[Mount]) -> tuple[Mount, ...]:
        """Mounts of a container with where their volumes' data is now, and whose: it moves when a volume is renamed, or
        moved to other storage."""
        return tuple(self._with_current_source(mount) if mount.volume else mount for mount in mounts)

    def _with_current_source(self, mount: Mount) -> Mount:
        volume = self.find(mount.volume)
        if volume is None or (volume.mountpoint, volume.driver) == (mount.source, mount.driver):
            return mount
        return dataclasses.replace(mount, source=volume.mountpoint, driver=volume.driver)

    def remember(self, volume: Volume) -> None:
        with self._lock:
            self._put(volume)

    def rename(self, name: str, renamed: Volume) -> None:
        """In one step: nobody finds both, nobody finds none."""
        with self._lock:
            self._take(name)
            self._put(renamed)

    def mark(self, name: str, problem: str) -> None:
        """Note what is wrong with a volume ("" when nothing is any more). Not for the journal."""
        with self._lock:
            volume, problem = self._volumes.get(name), self.redactor.hide(problem)
            if volume is not None and volume.problem != problem:
                self._change(dataclasses.replace(volume, problem=problem))

    def place(self, name: str, mountpoint: str, created_at_ns: int) -> None:
        """Where its driver says it is, and since when; "" and 0 say nothing. Not for the journal, either."""
        with self._lock:
            volume = self._volumes.get(name)
            if volume is not None:
                mountpoint, created = mountpoint or volume.mountpoint, created_at_ns or volume.created_at_ns
                if (mountpoint, created) != (volume.mountpoint, volume.created_at_ns):
                    self._change(dataclasses.replace(volume, mountpoint=mountpoint, created_at_ns=created))

    def forget(self, name: str) -> None:
        with self._lock:
            self._take(name)

    @contextmanager
    def moving(self, volume: Volume, where: str) -> Iterator[None]:
        """During the block it is neither changed nor removed. Raises Conflict when it is being moved already."""
        with self._lock:
            self._refuse_moving(volume, f"move {volume.name}")
            self._moving[volume.id] = where
        try:
            yield
        finally:
            with self._lock:
                del self._moving[volume.id]

    def refuse_moving(self, volume: Volume, subject: str) -> None:
        """Raises Conflict as long as it is being moved."""
        with self._lock:
            self._refuse_moving(volume, subject)

    def _refuse_moving(self, volume: Volume, subject: str) -> None:
        if where := self._moving.get(volume.id):
            raise Conflict(subject, f"it is being moved to {where}", "Wait for its end, or interrupt it")
        self.gates.check(subject, volume)

    def _find(self, name: str) -> Volume | None:
        return self._volumes.get(name) or self._volumes.get(self._aliases.get(name, ""))

    def _change(self, volume: Volume) -> None:
        self.version += 1
        self._volumes[volume.name] = volume

    def _put(self, volume: Volume) -> None:
        self._take(volume.name)
        self._change(volume)
        for alias in volume.aliases:
            self._aliases[alias] = volume.name

    def _take(self, name: str) -> None:
        self.version += 1
        volume = self._volumes.pop(name, None)
        for alias in volume.aliases if volume else ():
            if self._aliases.get(alias) == name:
                del self._aliases[alias]

    # Retired ones

    def retired(self) -> list[RetiredVolume]:
        """Oldest first."""
        with self._lock:
            return sorted(self._retired.values(), key=lambda retired: (retired.retired_at_ns, retired.id))

    def find_retired(self, reference: str) -> RetiredVolume:
        """By id, unique prefix of one, or name: the one retired last."""
        everything = self.retired()
        named = [retired for retired in everything if retired.volume.name == reference]
        if named:
            return named[-1]
        matching = [retired for retired in everything if reference and retired.id.startswith(reference)]
        if len(matching) > 1:
            raise Conflict(f"retired volume {reference}", f"the id begins {len(matching)} of them", "Give more of it")
        if not matching:
            hint = "List them with: orlop volume ls --retired"
            raise NotFound(f"retired volume {reference}", "no such retired volume", hint)
        return matching[0]

    def remember_retired(self, retired: RetiredVolume) -> None:
        with self._lock:
            self._retired[retired.id] = retired

    def forget_retired(self, retired_id: str) -> None:
        with self._lock:
            self._retired.pop(retired_id, None)

    # Holds

    def holders(self, name: str) -> list[str]:
        """Of the volume, by whichever of its names they hold it."""
        with self._lock:
            volume = self._find(name)
            names = (volume.name, *volume.aliases) if volume else (name,)
            return list(dict.fromkeys(holder for each in names for holder in self._holders.get(each, ())))

    def holders_by(self, name: str) -> list[str]:
        """Of those only who knows it by exactly this name."""
        with self._lock:
            return list(self._holders.get(name, ()))

    def hold(self, names: Iterable[str], container_id: str) -> None:
        """In one commit; none where all are held already. The caller holds the names' locks."""
        wanted = [name for name in names if container_id not in self.holders_by(name)]
        if not wanted:
            return
        uses = [VolumeUse(name, container_id) for name in wanted]
        self._journal.commit(*(self.hold_change(use) for use in uses))
        for use in uses:
            self.note_hold(use)

    def hold_change(self, use: VolumeUse) -> Change:
        return Put("uses", f"{use.volume}/{use.container_id}", use)

    def note_hold(self, use: VolumeUse) -> None:
        """The change is in the journal."""
        with self._lock:
            self._holders.setdefault(use.volume, {})[use.container_id] = use

    def note_wanted(self, name: str) -> None:
        """Somebody else asked for the volume: it is no longer only there for the container that it was made for."""
        with self._lock:
            uses = self._holders.get(name, {})
            for container_id, use in uses.items():
                uses[container_id] = dataclasses.replace(use, made_for=False)

    def find_hold(self, name: str, container_id: str) -> VolumeUse | None:
        with self._lock:
            return self._holders.get(name, {}).get(container_id)

    def release(self, name: str, container_id: str) -> None:
        if container_id in self.holders_by(name):
            self._journal.commit(Drop("uses", f"{name}/{container_id}"))
            self._let_go(name, container_id)

    def release_others(self, container_ids: Collection[str]) -> list[VolumeUse]:
        """Drop the holds of containers that are not among these, in one commit."""
        with self._lock:
            stale = [
                use
                for holders in self._holders.values()
                for use in holders.values()
                if use.container_id not in container_ids
            ]
        if stale:
            self._journal.commit(*(Drop("uses", f"{use.volume}/{use.container_id}") for use in stale))
        for use in stale:
            self._let_go(use.volume, use.container_id)
        return stale

    def _let_go(self, name: str, container_id: str) -> None:
        with self._lock:
            holders = self._holders.get(name, {})
            holders.pop(container_id, None)
            if not holders:
                self._holders.pop(name, None)
