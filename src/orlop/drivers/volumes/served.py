"""Volumes that a program mounts: the shared part of the drivers for cloud storage, NAS by protocol and the like.

    <root>/<name>/                  as the local driver lays it out: _data, orlop.json, uses/
    <root>/<name>/served.json 0600  the options, as they were given: secrets by name
    <root>/<name>/identity    0600  what the backend knows the storage by, where it can: another one is not mounted
    <root>/<name>/cache/            what the program keeps on this disk, where it keeps something
    <run>/<served id>/              the running program (mount_program)

A backend says which options there are and which program mounts them; everything else is here. The data is elsewhere:
what is removed, restored and renamed is the volume, never what it shows.

    attach   first use: the program is started and mounts on _data; every other: marked
    detach   last use: the backend flushes, _data is unmounted, the program ends
"""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from orlop.drivers.volumes.abilities import Health, HealthState, Pending
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.leash_ties import LeashTies
from orlop.drivers.volumes.leftover_programs import Leftover, end_leftover, find_leftovers
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.mount_health import MountHealth
from orlop.drivers.volumes.mount_program import Command, MountProgram, end_unrecorded
from orlop.drivers.volumes.mounted_uses import (
    USES,
    attach_mounted,
    detach_mounted,
    is_in_use,
    is_last_use,
    is_ours,
    keep_uses,
    leave_mounted,
    mark_uses,
    mount_anew,
)
from orlop.drivers.volumes.remote_options import refuse_named
from orlop.drivers.volumes.served_backend import Asking, Backend, Following, Options, Served, Showing, WritingThrough
from orlop.drivers.volumes.served_record import SERVED, is_started_for, parse_served, read_served, stamped
from orlop.drivers.volumes.storage_asking import StorageAsking
from orlop.drivers.volumes.volume_directory import PURGING, VolumeDirectory, exists, read_file, replace_file
from orlop.drivers.volumes.volume_name import check_name
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unavailable
from orlop.kernel.device_look import run_within
from orlop.kernel.mounts import is_mount_point
from orlop.model.cluster import Access

log = logging.getLogger(__name__)

CACHE, IDENTITY = "cache", "identity"
START_SECONDS = 60.0
END_SECONDS = 10.0
FINISH_SECONDS = 2.0  # how often it is tried again to unmount what had something to upload
_NOBODY = "nobody"  # a use that nobody has


class ServedVolumes:
    """`resolve` gives options with the secrets that they name."""

    def __init__(self, root: Path, run: Path, backend: Backend, resolve: Callable[[Options], Options] = dict) -> None:
        self._tree = LocalVolumes(root)
        self.root = self._tree.root
        self._run = run
        self._backend = backend
        self._resolve = resolve
        self._unfinished: set[str] = set()  # mounted, though nobody uses them
        self._unsent: set[str] = set()  # not mounted, with something in the cache that is not where it belongs
        self._told: set[str] = set()  # of whose trouble the log knows
        self._ties = LeashTies()
        self._closed = threading.Event()
        self._mounts = MountHealth()
        self._storage = StorageAsking()

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def scope(self) -> str:
        return self._backend.scope

    def close(self) -> None:
        self._closed.set()
        self._mounts.close()
        self._tree.close()

    # Create and find

    def check(self, name: str, options: Options) -> None:
        check_name(name)
        self._check(f"create {name}", options)

    def _check(self, subject: str, options: Options) -> None:
        if isinstance(self._backend, Showing):
            refuse_named(subject, options, self._backend.shown)
        self._backend.check(subject, self._resolve(options))

    def create(self, name: str, options: Options, metadata: str) -> StoredVolume:
        self.check(name, options)
        record = json.dumps({"id": secrets.token_hex(16), "options": dict(options)})
        self._tree.create(name, {}, metadata, {SERVED: record})
        self._tree.settle()
        return self.get(name)

    def discard(self, name: str) -> None:
        with suppress(NotFound), self._tree.opened(name) as volume:
            if exists(volume.fd, CACHE):
                raise Conflict(f"discarding volume {name}", "it has been in use")
        self._tree.discard(name, (SERVED,))

    def get(self, name: str) -> StoredVolume:
        return self._tree.get(name)

    def list_volumes(self) -> Sequence[StoredVolume]:
        return self._tree.list_volumes()

    def metadata(self, name: str) -> str:
        return self._tree.metadata(name)

    def retired_metadata(self, retired_id: str) -> str:
        return self._tree.retired_metadata(retired_id)

    def describe(self, name: str, metadata: str) -> None:
        self._tree.describe(name, metadata)

    def options(self, name: str) -> Options:
        with self._tree.opened(name) as volume:
            return read_served(volume)[1]

    def served_id(self, name: str) -> str:
        """Stays the same as long as the volume is there, whatever its name."""
        with self._tree.opened(name) as volume:
            return read_served(volume)[0]

    def is_known(self, name: str) -> bool:
        """Whether the backend has remembered the storage."""
        with self._tree.opened(name) as volume:
            return exists(volume.fd, IDENTITY)

    # Several hosts

    def accesses(self, options: Options) -> Sequence[str]:
        bears_one = isinstance(self._backend, WritingThrough) and self._backend.writes_through
        return (Access.RWX, Access.RWO, Access.ROX) if bears_one else (Access.RWX, Access.ROX)

    def options_for(self, options: Options, access: str) -> Options:
        return {**options, "read-only": "true"} if access == Access.ROX else options

    def identity(self, name: str) -> str:
        with self._tree.opened(name) as volume:
            return read_file(volume.fd, IDENTITY).strip()

    def expect(self, name: str, identity: str) -> None:
        with self._tree.opened(name, exclusive=True) as volume:
            if read_file(volume.fd, IDENTITY).strip() != identity:
                replace_file(volume.fd, IDENTITY, identity)

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None:
        self._ties.tie(name, leash, epoch)

    def is_reached(self, name: str) -> bool:
        with suppress(NotFound), self._tree.opened(name) as volume:
            return MountProgram(self._run / read_served(volume)[0]).is_alive()
        return False

    def cut(self, name: str, seconds: float) -> None:
        self.flush(name, seconds)
        with suppress(NotFound), self._tree.opened(name) as volume:
            MountProgram(self._run / read_served(volume)[0]).finish()

    def flush(self, name: str, seconds: float) -> None:
        """The first half of `cut`: nothing is mounted any more from here on, and what was written is written out."""
        self._ties.cut(name)
        with suppress(NotFound, TimeoutError), self._tree.opened(name) as volume:
            if seconds > 0 and MountProgram(self._run / read_served(volume)[0]).is_alive():
                run_within(seconds, ("sync", "-f", str(volume.data_path)))

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        with self._tree.opened(name, exclusive=True) as volume:
            # A dead mount may be there without a use, too: what a crash left, and nobody has cleared away yet.
            is_dead = (is_in_use(volume) or is_ours(volume)) and self._is_dead(volume)
            if is_dead or self._is_outdated(volume):
                self._attach_anew(volume, use_id)
            else:
                attach_mounted(volume, use_id, mount=lambda: self._mount(volume))
            return volume.data_path

    def _is_dead(self, volume: VolumeDirectory) -> bool:
        """Or about to be: on another leash than the one that there is now."""
        leash = self._ties.leash(volume.name)
        if leash is not None and MountProgram(self._run / read_served(volume)[0]).leash != leash:
            return True
        return self.health(volume.name).state is HealthState.STALE

    def _is_outdated(self, volume: VolumeDirectory) -> bool:
        """Nobody uses it, and its program still has something to bring away, by a key or options that were changed
        meanwhile: what it does not get rid of another may."""
        if is_in_use(volume) or not is_ours(volume):
            return False
        served, program = self._served(volume)
        return not is_started_for(program, served.options)

    def _attach_anew(self, volume: VolumeDirectory, use_id: str) -> None:
        """Those who have it are given the new mount by whoever watches."""
        try:
            mount_anew(volume, [use_id], mount=lambda: self._mount(volume))
        except BaseException:
            leave_mounted(volume, use_id)
            raise

    def _mount(self, volume: VolumeDirectory) -> None:
        served, program = self._served(volume)
        self._start(served, program, self._command(served))

    def _command(self, served: Served) -> Command:
        served.cache.mkdir(mode=0o700, exist_ok=True)
        return stamped(self._backend.command(served), served.options)

    def _start(self, served: Served, program: MountProgram, command: Command) -> None:
        subject, leash = f"attaching volume {served.name}", self._ties.leash(served.name)
        try:
            program.start(subject, command, lambda: self._is_ready(served), START_SECONDS, leash)
        except BaseException:
            self._tell_end(served)
            raise
        if isinstance(self._backend, Following):
            self._backend.mounted(served)

    def _is_ready(self, served: Served) -> bool:
        if not is_mount_point(served.mountpoint):
            return False
        return not isinstance(self._backend, Following) or self._backend.is_ready(served)

    def _tell_end(self, served: Served) -> None:
        if isinstance(self._backend, Following):
            self._backend.ended(served)

    def detach(self, name: str, use_id: str) -> None:
        with suppress(NotFound), self._tree.opened(name, exclusive=True) as volume:
            if not is_last_use(volume, use_id):
                detach_mounted(volume, use_id)
                return
            served, program = self._served(volume)
            if not program.is_alive():
                detach_mounted(volume, use_id)
                program.end(0.0)
                self._tell_end(served)
                left = self._backend.pending(served.place, served.cache)
                if left and left.files:
                    self._unsent.add(name)  # it died before it was done
                return
            try:
                self._backend.before_unmount(served, program)
            except Unavailable as error:
                leave_mounted(volume, use_id)
                if name not in self._told:
                    log.warning("%s", error)
                self._told.add(name)
                self._unfinished.add(name)
                return
            self._told.discard(name)
            detach_mounted(volume, use_id)
            program.end(END_SECONDS)
            self._tell_end(served)

    # Health

    def health(self, name: str) -> Health:
        with self._tree.opened(name) as volume:
            program = MountProgram(self._run / read_served(volume)[0])
            if not program.is_alive():
                self._storage.forget(name)
                words = program.last_words()
                return Health(HealthState.STALE, "its program ended" + (f"; it said last: {words}" if words else ""))
            found = self._mounts.health(name, volume.data_path)
            if found.state is not HealthState.OK or not isinstance(self._backend, Asking):
                return found
            place, identity, backend = program.place, volume.path / IDENTITY, self._backend
            return self._storage.health(name, lambda: backend.ask(place, identity))

    def watch_only(self, names: Collection[str]) -> None:
        self._mounts.watch_only(names)
        self._storage.keep_only(names)

    def mend(self, name: str, use_ids: Collection[str]) -> Path:
        with self._tree.opened(name, exclusive=True) as volume:
            if self.health(name).state is not HealthState.STALE:
                mark_uses(volume, use_ids)
                return volume.data_path
            served, program = self._served(volume)
            # Which looks at the storage: the dead mount stays where nothing could take its place.
            command = self._command(served)
            mount_anew(volume, use_ids, mount=lambda: self._start(served, program, command))
            return volume.data_path

    def interrupt(self, name: str) -> None:
        with self._tree.opened(name) as volume:
            MountProgram(self._run / read_served(volume)[0]).kill()

    def pending(self, name: str) -> Pending | None:
        with self._tree.opened(name) as volume:
            return self._backend.pending(self._run / read_served(volume)[0], volume.path / CACHE)

    def detach_others(self, use_ids: Collection[str]) -> None:
        """At start. What nobody uses any more ends, in a thread: it may have to bring away what was written."""
        end_unrecorded(self._run)
        running, unused, owners, is_clear = set(), [], {}, True
        for name in self._tree.names():
            try:
                with self._tree.opened(name, exclusive=True) as volume:
                    if exists(volume.fd, USES):
                        keep_uses(volume, use_ids)
                    place = self._run / read_served(volume)[0]
                    owners[place] = name
                    if is_mount_point(volume.data_path):
                        running.add(place)
                        if is_last_use(volume, _NOBODY):
                            unused.append(name)
                    elif (left := self.pending(name)) and left.files:
                        log.warning("volume %s: going on with %d files that were not uploaded", name, left.files)
                        self._unsent.add(name)
                        running.add(place)  # it may be at it
            except (OrlopError, OSError) as error:
                log.warning("volume %s stays mounted: %s", name, error)
                is_clear = False
        self._unfinished.update(unused)
        arguments = (find_leftovers(self._run, running, owners, is_clear),)
        threading.Thread(target=self._go_on, args=arguments, name=f"volumes of {self.name}", daemon=True).start()

    def _go_on(self, leftovers: Sequence[Leftover]) -> None:
        """Until the daemon ends: whatever has still to be brought away is, and then unmounted."""
        for leftover in leftovers:
            end_leftover(leftover, lambda name: self._tree.opened(name, exclusive=True))
        while not self._closed.wait(FINISH_SECONDS):
            for name in list(self._unsent):
                if self._try(name, lambda name: self.attach(name, _NOBODY)):
                    self._unsent.discard(name)
                    self._unfinished.add(name)
            for name in list(self._unfinished):
                self._unfinished.discard(name)  # `detach` puts it back
                self._try(name, lambda name: self.detach(name, _NOBODY))

    def _try(self, name: str, act: Callable[[str], object]) -> bool:
        try:
            act(name)
        except NotFound:
            self._unsent.discard(name)  # removed meanwhile
        except (OrlopError, OSError) as error:
            if name not in self._told:
                log.warning("volume %s: bringing away what was written has to wait: %s", name, error)
            self._told.add(name)
            return False
        return True

    def _served(self, volume: VolumeDirectory) -> tuple[Served, MountProgram]:
        served_id, options = read_served(volume)
        place = self._run / served_id
        resolved = self._resolve(options)
        cache, identity = volume.path / CACHE, volume.path / IDENTITY
        return Served(volume.name, resolved, options, volume.data_path, place, cache, identity), MountProgram(place)

    # Change and rename

    def change(self, name: str, options: Options, metadata: str) -> None:
        """From the next mount on."""
        self._check(f"update {name}", options)
        with self._tree.opened(name, exclusive=True) as volume:
            served_id, _ = read_served(volume)
            replace_file(volume.fd, SERVED, json.dumps({"id": served_id, "options": dict(options)}))
        self._tree.describe(name, metadata)

    def rename(self, name: str, new_name: str, metadata: str) -> StoredVolume:
        return self._tree.rename(name, new_name, metadata)

    # Retire: the volume, not what it shows

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        self._tree.retire(name, retired_id, metadata)
        self._tree.settle()

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        return self._tree.restore(retired_id, name, metadata)

    def purge(self, retired_id: str) -> None:
        self._tree.purge(retired_id)

    def cleanup(self) -> None:
        self._tree.cleanup()

    def purged(self) -> Sequence[tuple[str, str, Options]]:
        """Retired id, served id and options of what `cleanup` will delete."""
        found = []
        for place in sorted((self.root / PURGING).iterdir()):
            with suppress(OSError, HostFailure):  # one that is being deleted has none any more
                served_id, options = parse_served(place.name, (place / SERVED).read_text(), place / SERVED)
                found.append((place.name, served_id, options))
        return found

    def list_retired(self) -> Sequence[str]:
        return self._tree.list_retired()
