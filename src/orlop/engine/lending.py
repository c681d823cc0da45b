"""Volumes of one driver for other engines, which keep records of their own: they ask to make, mount, let go and remove.

What a daemon of ours does for its containers holds for their mounts: uses are remembered, what was removed can be
restored until its grace ends, and a crash at any point leaves things as they were or as they were wished.

    mount     attached, then counted: a crash between the two is seen at the next start, which lets go of it
    unmount   the last one of an id lets go; where that fails it is tried again until it works

Two engines may share a volume: each sees it under its name, and it can be removed only when neither has it mounted.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import Pending, Retirement, Uploading
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.keyed_locks import KeyedLocks
from orlop.engine.lent_mounts import mount_of
from orlop.engine.lent_uses import LentUses
from orlop.engine.mount_holders import mount_on
from orlop.engine.redactor import Redactor
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchVolume, NotFound, OrlopError
from orlop.kernel.mount_users import mount_users, place_of
from orlop.kernel.mounts import spelled
from orlop.model.lent import LentUse, LentVolume
from orlop.model.mount import Mount
from orlop.model.on_hang import ON_HANG, OnHang, parse_hang_policy
from orlop.model.volume import Volume

log = logging.getLogger(__name__)

RESTORE = "restore"  # the option that brings a removed volume back
DOUBT_SECONDS = 60.0  # a mount that nobody waited for stays so long, for whoever asks again
FRESH_NS = 120_000_000_000  # so long a mount may be on its way into a container
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Lending:
    """Thread-safe; a lock for each volume, held while the storage is asked. What only looks takes none."""

    def __init__(
        self,
        volumes: Volumes,
        driver: VolumeDriver,
        uses: LentUses,
        clock: Callable[[], int] = time.time_ns,
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._volumes = volumes
        self._driver = driver
        self._uses = uses
        self._clock = clock
        self._locks = KeyedLocks()
        self._leaving: dict[tuple[str, str], Mount] = {}
        self._departures = 0  # how often that has changed
        self._leaver: threading.Thread | None = None
        self._mutex = threading.Lock()
        self._closed = threading.Event()

    def start(self) -> None:
        """Uses that are known go on; what a crash left attached besides is let go of."""
        for use in self._uses.all():
            self._volumes.remember_attached(self._mount(use.volume, use.id), use.id)
        self._volumes.detach_others()

    def close(self) -> None:
        self._closed.set()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits to be let go of."""
        return self._leaver is None

    @property
    def scope(self) -> str:
        return self._driver.scope

    # What there is

    @property
    def changes(self) -> tuple[int, int, int]:
        """Other numbers whenever `find` or `list_volumes` may have something else to say. Asked for before either, they
        are of what was found: that holds for as long as they stay the same."""
        return self._volumes.changes, self._uses.changes, self._departures

    @property
    def uploads(self) -> bool:
        """Whether `pending` can ever have anything to say."""
        return isinstance(self._driver, Uploading)

    def find(self, name: str) -> LentVolume | None:
        """From memory: storage that does not answer must not look like a volume that is gone."""
        try:
            volume = self._volumes.get(name)
        except NoSuchVolume:
            return None
        return self._describe(volume) if volume.name == name else None

    def list_volumes(self) -> Sequence[LentVolume]:
        volumes, _ = self._volumes.list_volumes({})
        return [self._describe(volume) for volume in volumes]

    def _describe(self, volume: Volume) -> LentVolume:
        uses = sum(use.count for use in self._uses.of(volume.name))
        is_leaving = any(name == volume.name for name, _ in tuple(self._leaving))
        # What the storage shows is there only while it is mounted: nobody is to write below that.
        shown = volume.mountpoint if uses or not volume.options else ""
        status = {"Driver": volume.driver, "Health": volume.problem or "ok", "Mounts": uses}
        return LentVolume(volume.name, shown, volume.created_at_ns, uses > 0 or is_leaving, status)

    def pending(self, name: str) -> Pending | None:
        """What has not got to storage elsewhere; None where that cannot be told. May wait for the volume's mount."""
        try:
            found = self._driver.pending(name) if isinstance(self._driver, Uploading) else None
            return replace(found, why=self._redactor.hide(found.why)) if found else None
        except (OrlopError, OSError):
            return None

    # Make and remove

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """A volume of that name with these options, or with any where none are given, is taken as it is: another
        engine may have made it. Raises Malformed, Conflict, NotFound for a secret or nothing to restore."""
        _require_name(name)
        with self._locks.hold([name]):
            existing = self.find(name)
            if RESTORE in options:
                if existing is None:
                    self._restore(name, options)
            elif existing is None:
                _refuse_policy(name, options)
                self._volumes.create(name, self._driver.name, dict(options) or None, None)
            else:
                self._require_same(name, options)

    def _restore(self, name: str, options: Mapping[str, str]) -> None:
        reference = options[RESTORE]
        others = sorted(set(options) - {RESTORE})
        if others:
            why = f"it comes back with the options it had: {', '.join(others)} cannot be given with {RESTORE}"
            raise Malformed(f"create {name}", why)
        try:
            self._volumes.restore(reference, name)
        except NotFound as error:
            removed = dict.fromkeys(found.volume.name for found in self._volumes.list_retired())
            hint = f"There are: {', '.join(removed)}" if removed else "There are none"
            raise NotFound(f"create {name}", f"no removed volume {reference} can be brought back", hint) from error

    def _require_same(self, name: str, options: Mapping[str, str]) -> None:
        had = self._volumes.get(name).options or {}
        differing = sorted(key for key in {*had, *options} if had.get(key) != options.get(key))
        if options and differing:
            why = f"a volume of that name exists with other options ({', '.join(differing)})"
            raise Conflict(f"create {name}", why, "Choose another name, or give no options to use the one there is")

    def remove(self, name: str) -> None:
        """Gone already is success: the call may be made again. Raises Conflict where an engine has it mounted."""
        _require_name(name)
        with self._locks.hold([name]):
            if self.find(name) is None:
                return
            uses = self._uses.of(name)
            if uses:
                self._refuse_used(name, uses)
                for use in uses:
                    log.warning("volume %s: nothing has mount %s any more; it is let go of", name, use.id[:12])
                    self._uses.drop(name, use.id)
                    self._volumes.detach(self._mount(name, use.id), use.id)
            self._volumes.remove(name, reason="removed by another engine")
            back = f"; create it with the option {RESTORE}={name} to bring it back"
            log.info("removed volume %s%s", name, back if isinstance(self._driver, Retirement) else "")

    def _refuse_used(self, name: str, uses: Sequence[LentUse]) -> None:
        """An engine that crashed may have forgotten its mounts: what nothing has mounted any more is no use."""
        now = self._clock()
        pids = self._processes_with(name)
        if pids:
            some = ", ".join(map(str, pids[:3]))
            why = f"volume is in use: processes have it mounted ({some})"
            raise Conflict(f"remove {name}", why, "Stop the containers that use it, in Docker and in Podman")
        if any(now - use.since_ns < FRESH_NS for use in uses):
            why = f"volume is in use: it was mounted a moment ago ({uses[0].id[:12]})"
            raise Conflict(f"remove {name}", why, "Remove the container that uses it, or try again in two minutes")

    def _processes_with(self, name: str) -> list[int]:
        """That have it mounted somewhere else than where it is for the host."""
        mountpoint = self._volumes.get(name).mountpoint
        try:
            place = place_of(Path(mountpoint))
        except OSError as error:
            log.warning("volume %s: who has it mounted cannot be told: %s", name, error)
            return []
        own = spelled(Path(os.path.realpath(mountpoint)))
        return [user.pid for user in mount_users([place]) if user.entry.mount_point != own]

    # Use

    def mount(self, name: str, use_id: str) -> str:
        """The path where its data is. Raises NoSuchVolume, and what attaching raises."""
        _require_name(name)
        _require_id(name, use_id)
        with self._locks.hold([name]):
            if self.find(name) is None:
                raise NoSuchVolume(name)
            self._forget_leaving(name, use_id)
            path = self._volumes.attach(self._mount(name, use_id), use_id)
            self._volumes.mounted(use_id)
            try:
                entry = mount_on(str(path))
                self._uses.add(name, use_id, entry.device if entry else "")
            except OSError as error:
                if self._uses.find(name, use_id) is None:
                    self._let_go(name, use_id)
                why = f"who uses it cannot be written down: {error.strerror}"
                raise HostFailure(f"mount {name}", why, "Make room on /run") from error
            return str(path)

    def unmount(self, name: str, use_id: str) -> None:
        """What is not mounted is let go of already."""
        _require_name(name)
        _require_id(name, use_id)
        with self._locks.hold([name]):
            if self._uses.take(name, use_id) == 0:
                self._let_go(name, use_id)

    def unanswered(self, name: str, use_id: str) -> None:
        """Whoever asked for this mount had gone before it was done. It stays for a while: who tries again finds it
        ready, and then it ends by itself."""
        with self._locks.hold([name]):
            if not self._uses.doubt(name, use_id):
                return
        log.info("volume %s was mounted too late for %s; it stays so for a moment", name, use_id[:12])
        threading.Thread(target=self._end_doubt, args=(name, use_id), name="late mount", daemon=True).start()

    def _end_doubt(self, name: str, use_id: str) -> None:
        if self._closed.wait(DOUBT_SECONDS):
            return
        with self._locks.hold([name]):
            use = self._uses.find(name, use_id)
            if use is None or not use.doubtful:
                return
            if self._uses.take_doubtful(name, use_id) == 0:
                try:
                    self._let_go(name, use_id)
                except (OrlopError, OSError) as error:
                    log.warning("volume %s: %s", name, error)

    def _let_go(self, name: str, use_id: str) -> None:
        """Called with the lock. What fails is tried again: engines do not ask twice."""
        mount = self._mount(name, use_id)
        try:
            self._volumes.detach(mount, use_id)
        except (OrlopError, OSError):
            with self._mutex:
                self._leaving[name, use_id] = mount
                self._departures += 1
                if self._leaver is None:
                    self._leaver = threading.Thread(target=self._leave, name="unmounting", daemon=True)
                    self._leaver.start()
            raise

    def _forget_leaving(self, name: str, use_id: str) -> None:
        with self._mutex:
            self._leaving.pop((name, use_id), None)
            self._departures += 1

    def _leave(self) -> None:
        pauses, pause = iter(_PAUSES), 1.0
        while not self._closed.wait(pause):
            for name, use_id in list(self._leaving):
                with self._locks.hold([name]):
                    self._try_again(name, use_id)
            with self._mutex:
                if not self._leaving:
                    self._leaver = None
                    return
            pause = next(pauses, pause)

    def _try_again(self, name: str, use_id: str) -> None:
        mount = self._leaving.get((name, use_id))
        if mount is None:
            return  # it is mounted again
        try:
            self._volumes.detach(mount, use_id)
        except (OrlopError, OSError) as error:
            log.warning("volume %s stays mounted: %s", name, error)
        else:
            self._forget_leaving(name, use_id)

    def _mount(self, name: str, use_id: str) -> Mount:
        return mount_of(name, self._driver.name)


def _refuse_policy(name: str, options: Mapping[str, str]) -> None:
    policy = parse_hang_policy(f"create {name}", options)
    if policy.on_hang is not OnHang.WAIT:
        why = f"{ON_HANG}={policy.on_hang} is about containers, and those are another engine's"
        raise Malformed(f"create {name}", why, f"Leave {ON_HANG} out; Orlop's own daemon knows it")


def _require_name(name: str) -> None:
    if not name:
        raise Malformed("", "the request names no volume", "It may have been cut off: try again")


def _require_id(name: str, use_id: str) -> None:
    if not use_id:
        raise Malformed(f"mount {name}", "the request has no id of the mount")
