"""One move of a volume under way: what is open, who stands still, how far it is."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import Fleeting, Uploading
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mounts import VolumeMounts, use_id
from orlop.engine.volume_move_copy import MoveCopy
from orlop.engine.volume_move_steps import MOVE_USE
from orlop.engine.volume_move_target import AskedTop, asked_top, check_target, refuse_within
from orlop.engine.volume_move_terms import MoveProgress, MoveResult, MoveWish, Phase, Tell
from orlop.engine.volume_move_users import LiveUse, MoveUsers
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import GLOBAL
from orlop.engine.volume_writing import VolumeWriting
from orlop.errors import Conflict, HostFailure, OrlopError, Unsupported
from orlop.kernel.mount_users import Place, place_of_mount
from orlop.model.mount import Mount
from orlop.model.value import dataclass
from orlop.model.volume import RetiredVolume, Volume

log = logging.getLogger(__name__)

MOST_PASSES = 8  # while it is in use
_LITTLE_BYTES, _LITTLE_ENTRIES = 16 << 20, 1000  # that a standstill may well have to bring
_TRIES = 30  # to find a moment at which nobody comes or goes
_BUSY_TRIES = 10  # ... and nobody has anything open
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Tools:
    """`is_visited`: whether the daemon itself is at work on a volume, by its id."""

    records: VolumeRecords
    drivers: Mapping[str, VolumeDriver]
    locks: VolumeLocks
    mounts: VolumeMounts
    writing: VolumeWriting
    is_visited: Callable[[str], bool]
    describe: Callable[[Sequence[str]], str]
    scratch: Path | None = None
    users: MoveUsers | None = None


class MoveWork:
    """`volume` as it is, `moved` as it will be; `hidden` is the target's name until then. Used by one thread."""

    def __init__(
        self, tools: Tools, volume: Volume, moved: Volume, hidden: str, wish: MoveWish, tell: Tell, size_bytes: int = -1
    ) -> None:
        self._tools = tools
        self._volume = volume
        self.moved = moved
        self._hidden = hidden
        self._wish = wish
        self._tell = tell
        self._size_bytes = size_bytes
        self._subject = f"move {volume.name}"
        self._why = f"volume {volume.name} is being moved to the driver {moved.driver}"
        self._source, self._target = tools.drivers[volume.driver], tools.drivers[moved.driver]
        self._source_path, self._target_path = Path(), Path()
        self._copy: MoveCopy | None = None
        self._top: AskedTop | None = None
        self._held = ExitStack()  # the volume's lock, from the last look on
        self._leaving = ExitStack()
        self._frozen: set[str] = set()
        self._stopped: list[str] = []  # or were told to
        self._live: tuple[LiveUse, ...] = ()
        self._is_switching = False
        self._still_since = 0.0
        self._stood_still_seconds = 0.0
        self._failures: list[str] = []
        self.is_done = False

    # Who uses it

    def _running(self) -> list[LiveUse]:
        return self._tools.users.running(self._volume) if self._tools.users else []

    def busy_now(self) -> dict[str, str]:
        """By id, running containers that would have to be stopped, and why; not for a file open now and then."""
        for _ in range(_BUSY_TRIES):
            busy = self._busy(self._running(), Path(self._volume.mountpoint))
            if not busy:
                return {}
            time.sleep(_LOOK_SECONDS)
        return busy

    def _busy(self, uses: Sequence[LiveUse], path: Path) -> dict[str, str]:
        users = self._tools.users
        if users is None or not uses:
            return {}

        def place(mount: Mount, container_id: str) -> Place:
            return place_of_mount(self._tools.mounts.place_of(path, mount, container_id))

        return users.busy(uses, place)

    def refuse_busy(self) -> None:
        if not self._wish.may_stop:
            self._refuse(self.busy_now())

    def _refuse(self, busy: Mapping[str, str]) -> None:
        if busy:
            told = [f"{self._tools.describe([each])}: {why}" for each, why in busy.items()]
            why = f"containers would have to be stopped for a moment, and started again: {'; '.join(told)}"
            raise Conflict(self._subject, why, "Allow it with --stop, or stop them yourself")

    # Copy

    @property
    def has_begun(self) -> bool:
        return self._copy is not None

    @property
    def is_left_behind(self) -> bool:
        """Whether what was copied stays when the target is thrown away: its storage is not its driver's own."""
        has_copied = self._copy is not None and self._copy.passes > 0
        return has_copied and self.moved.scope == GLOBAL

    def copy(self) -> None:
        self._open()
        assert self._copy is not None
        for number in range(1, MOST_PASSES + 1):
            brought = self._copy.bring(Phase.COPYING)
            changed = max(brought.changed, brought.unsettled)
            if number > 1 and brought.sent_bytes < _LITTLE_BYTES and changed < _LITTLE_ENTRIES:
                break
        self._copy.compare(Phase.COPYING)  # so that little is left of that, too
        self._await_upload()

    def _open(self) -> None:
        with self._tools.locks.hold([self._volume.name]):
            self._source_path = self._tools.mounts.attach_data(self._volume, MOVE_USE)
        self._tools.writing.begin_target(self.moved, self._hidden)
        self._target_path = self._target.attach(self._hidden, MOVE_USE)
        self._tools.mounts.require_answer(self.moved, self._target_path)
        if isinstance(self._target, Fleeting) and self._target.vanishes(self._hidden, MOVE_USE):
            raise Unsupported(self._subject, "the target is in memory, and would be empty when nobody uses it")
        refuse_within(self._subject, place_of_mount(self._source_path), place_of_mount(self._target_path))
        source_fd = self._opened(self._source_path)
        try:
            target_fd = self._opened(self._target_path)
            try:
                check_target(self._subject, target_fd, self._size_bytes)
                self._top = asked_top(target_fd, self._wish.options)
                self._copy = MoveCopy(self._subject, source_fd, target_fd, self._wish, self._tell, self._tools.scratch)
            except BaseException:
                os.close(target_fd)
                raise
        except BaseException:
            os.close(source_fd)
            raise

    def _opened(self, path: Path) -> int:
        try:
            return os.open(path, _DIRECTORY)
        except OSError as error:
            raise HostFailure(self._subject, f"{path}: {error.strerror}") from error

    def _await_upload(self) -> None:
        """What its storage has not got lies on this host's disk; it takes no harm, but other hosts do not see it."""
        if not isinstance(self._target, Uploading):
            return
        while (pending := self._target.pending(self._hidden)) is not None and pending.files:
            self._tell(MoveProgress(Phase.UPLOADING, 0, pending.files, pending.size_bytes))
            time.sleep(_LOOK_SECONDS)

    # The last look

    def stand_still(self) -> None:
        """Whoever stands still goes on at once where this fails: what is undone then may take long."""
        try:
            self._find_moment()
            self._settle()
        except BaseException:
            self._let_go()
            raise

    def _settle(self) -> None:
        assert self._copy is not None
        brought = self._copy.bring(Phase.SETTLING)
        if brought.unsettled:
            brought = self._copy.bring(Phase.SETTLING)
        if brought.unsettled:
            why = f"{brought.unsettled} entries are being written to by somebody who is no container of it"
            raise Conflict(self._subject, why, "Find it with lsof or fuser, and end it")
        self._copy.compare(Phase.SETTLING)
        if self._top is not None:
            self._top.give(self._copy.target_fd)

    def _find_moment(self) -> None:
        """At which everybody who uses it stands still, and nobody can come."""
        tries = 0
        for _ in range(_TRIES):
            self._await_visitors()
            self._freeze()
            self._held.enter_context(self._tools.locks.hold([self._volume.name]))
            uses = self._running()
            if {use.container.id for use in uses} - self._frozen or self._is_visited():
                self._let_go()
                continue
            busy = self._busy(uses, self._source_path)
            if not busy:
                self._live = tuple(uses)
                return
            self._let_go()
            tries += 1
            if tries < _BUSY_TRIES:
                time.sleep(_LOOK_SECONDS)
                continue
            if not self._wish.may_stop:
                self._refuse(busy)
            self._stop(busy)
        why = "containers that use it come and go all the time"
        raise Conflict(self._subject, why, "Try again when it is quieter, or stop them")

    def _freeze(self) -> None:
        users, uses = self._tools.users, self._running()
        self._still_since = time.monotonic()
        if users is not None and uses:
            self._frozen = users.freeze(uses, self._why)

    def _is_visited(self) -> bool:
        volume_id = self._volume.id
        return self._tools.mounts.mounting.is_under_way(volume_id) or self._tools.is_visited(volume_id)

    def _await_visitors(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._is_visited():
            if time.monotonic() > deadline:
                raise Conflict(self._subject, "files are just being copied into it or out of it", "Try again")
            time.sleep(_LOOK_SECONDS)

    def _let_go(self) -> None:
        """Everybody goes on."""
        self._held.close()
        if self._tools.users is not None:
            self._tools.users.thaw(self._frozen)
        self._frozen = set()

    def _stop(self, busy: Mapping[str, str]) -> None:
        users = self._tools.users
        assert users is not None
        self._tell(MoveProgress(Phase.STOPPING))
        for container_id, why in busy.items():
            log.info("container %s is stopped for a moment: %s", container_id[:12], why)
        self._stopped += busy
        users.stop(busy, self._why)

    # The switch, all under the volume's lock

    def give(self) -> None:
        """Under the name that the target still has: who has a volume attached does not notice that it is renamed."""
        assert self._copy is not None
        self._tell(MoveProgress(Phase.SWITCHING))
        self._copy.close()
        self._is_switching = True
        self._leaving.enter_context(self._tools.mounts.leaving(_ids(self._live)))
        path = self._attach_all(self._target, self._hidden)
        for use in self._live:
            assert self._tools.users is not None
            self._tools.users.give(use, self._pinned(path, use))

    def let_go_of_source(self) -> None:
        """Nobody has it any more."""
        for use in self._live:
            self._source.detach(self._volume.name, use_id(use.mount, use.container.id))
        self._source.detach(self._volume.name, MOVE_USE)

    def name(self) -> None:
        """The target is about to get the volume's name."""
        self._tools.writing.name_target(self.moved)

    def settle(self) -> Volume:
        """As it is now, once the target has its name. Raises Unavailable where another host may write to it soon."""
        self._tools.writing.require_target(self.moved)
        mountpoint = self._target.get(self.moved.name).mountpoint
        self.moved = replace(self.moved, mountpoint=mountpoint)
        return self.moved

    def _attach_all(self, driver: VolumeDriver, name: str) -> Path:
        path = driver.attach(name, MOVE_USE)
        for use in self._live:
            driver.attach(name, use_id(use.mount, use.container.id))
        return path

    def _pinned(self, path: Path, use: LiveUse) -> Path:
        mounts = self._tools.mounts
        return mounts.pin_again(path, use.mount, use.container.id) if use.mount.subpath else path

    def give_back(self) -> None:
        """Undo of `give`. The source is the volume again; after a crash, for all who stand still."""
        users = self._tools.users
        if users is None:
            return
        if not self._hidden:
            self._live = tuple(use for use in users.alive(self._volume) if use.container.is_frozen)
        if self._live and (self._is_switching or not self._hidden):
            self._give_back(users)
        if not self._hidden:
            users.thaw({use.container.id for use in self._live})
        self._let_go()

    def _give_back(self, users: MoveUsers) -> None:
        try:
            path = self._attach_all(self._source, self._volume.name)
        except (OrlopError, OSError) as error:
            for container in {use.container.id: use.container for use in self._live}.values():
                users.end(container, f"its volume {self._volume.name} cannot be attached: {error}")
            return
        for use in self._live:
            try:
                source = self._pinned(path, use)
            except (OrlopError, OSError) as error:
                users.end(use.container, f"its part of volume {self._volume.name} is not found: {error}")
                continue
            users.give_or_end(use, source)
        self._detach(self._source, self._volume.name)

    # The end

    def close(self) -> None:
        """Undo of `copy`."""
        if self._copy is not None:
            self._copy.close()
        self._detach(self._target, self._hidden)
        self._tools.writing.end_target(self.moved)
        self._detach(self._source, self._volume.name)

    def keep(self) -> None:
        """The journal has it: the copy is the volume."""
        self.is_done = True
        self._tools.writing.keep_target(self.moved, (MOVE_USE, *_ids(self._live)))

    def _detach(self, driver: VolumeDriver, name: str) -> None:
        try:
            driver.detach(name, MOVE_USE)
        except (OrlopError, OSError) as error:
            log.warning("volume %s stays attached after work on it: %s", name, error)

    def finish(self) -> None:
        """However it ended. What fails here is told, and hides no error."""
        if self.is_done:
            self._detach(self._target, self.moved.name)
            self._tools.writing.end(self.moved, MOVE_USE)
        if self._still_since:
            self._stood_still_seconds = time.monotonic() - self._still_since
        self._leaving.close()
        self._let_go()
        if self._stopped and self._tools.users is not None:
            self._failures = self._tools.users.start_again(dict.fromkeys(self._stopped))

    def result(self, retired: RetiredVolume | None) -> MoveResult:
        assert self._copy is not None
        return MoveResult(
            self.moved,
            retired,
            self._copy.passes,
            self._copy.entries,
            self._copy.sent_bytes,
            self._copy.left_out,
            self._copy.left_out_count,
            self._copy.lost,
            self._stood_still_seconds,
            tuple(dict.fromkeys(use.container.id for use in self._live)),
            tuple(dict.fromkeys(self._stopped)),
            tuple(self._failures),
        )


def _ids(uses: Sequence[LiveUse]) -> list[str]:
    return [use_id(use.mount, use.container.id) for use in uses]
