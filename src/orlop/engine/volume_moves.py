"""Moving a volume to other storage on this host, while it is in use.

    orlop volume move db --driver san -o ...

A volume of the target driver is made under a name that no listing shows, and filled in passes while containers go on
writing, until little is left. Then they stand still: the rest is copied, all of it compared, the source retired, the
copy put in its place, and each of them given it. Until the journal has that, in one change, the source is the volume;
whatever comes in between (an error, a full disk, Ctrl-C, SIGKILL) takes everything back. The steps are in
engine.volume_move_steps, the work on one move in engine.volume_move_work.

The volume keeps its id, its names, labels and age; driver and options are the new ones. The source gets another id and
is a removed volume like others: it can be restored beside the moved one until its grace ends.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import Renaming, Retirement, scope_of
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.retirement import Retirements
from orlop.engine.volume_coming import ComingVolumes
from orlop.engine.volume_facts import FactRecords
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_mounts import VolumeMounts
from orlop.engine.volume_move_steps import VolumeMoveSteps
from orlop.engine.volume_move_terms import MovePreview, MoveResult, MoveUser, MoveWish, Tell
from orlop.engine.volume_move_users import MoveUsers
from orlop.engine.volume_move_work import MoveWork, Tools
from orlop.engine.volume_others import find_stored, no_such_driver
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_steps import render_record
from orlop.errors import Conflict, Malformed, OrlopError, Unsupported
from orlop.model.cluster import ACCESS, Access
from orlop.model.volume import PROTECT_LABEL, RetiredVolume, Volume, hidden_target
from orlop.planning.volumes import MoveFacts, plan_move
from orlop.store.journal import Change, Put

log = logging.getLogger(__name__)

_LEFT = "What was copied is left in the target, which is outside of this host: delete it before the next try"

Check = Callable[[str, str, Mapping[str, str]], None]
Describe = Callable[[Sequence[str]], str]


class VolumeMoves:
    """Thread-safe. `meet` finds a volume, `check` options, `describe` names
    containers for people."""

    def __init__(
        self,
        executor: Executor,
        records: VolumeRecords,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        mounts: VolumeMounts,
        retirements: Retirements,
        shared: SharedVolumes,
        facts: FactRecords,
        coming: ComingVolumes,
        is_visited: Callable[[str], bool],
        meet: Callable[[str], Volume],
        check: Check,
        describe: Describe,
        moved: Callable[[str], None],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`moved` is told the name of each volume that was moved, when it is done."""
        self._executor = executor
        self._records = records
        self._drivers = drivers
        self._events = events
        self._retirements = retirements
        self._shared = shared
        self._facts = facts
        self._coming = coming
        self._meet = meet
        self._check = check
        self._describe = describe
        self._moved = moved
        self._clock = clock
        self.steps = VolumeMoveSteps(executor, drivers)
        self.steps.left_by_crash = self._left_by_crash
        self._tools = Tools(records, drivers, locks, mounts, coming.writing, is_visited, describe)

    def set_up(self, users: MoveUsers, scratch: Path) -> None:
        """By the composition root. `scratch` is a directory on a disk, for notes of the size of a tree's names."""
        self._tools.users = self.steps.users = users
        self._tools.scratch = scratch

    # Before

    def preview(self, name: str, wish: MoveWish) -> MovePreview:
        """Raises what `move` would raise before it does anything."""
        with self._records.redactor.hiding(wish.options):
            volume, target = self._checked(name, wish)
        busy = MoveWork(self._tools, volume, target, "", wish, lambda told: None).busy_now()
        users = self._tools.users.running(volume) if self._tools.users else []
        ids = dict.fromkeys(use.container.id for use in users)
        shown = tuple(MoveUser(container_id, busy.get(container_id, "")) for container_id in ids)
        return MovePreview(volume, target.driver, self._facts.find(volume.id).size_bytes, shown)

    def _checked(self, name: str, wish: MoveWish) -> tuple[Volume, Volume]:
        """The volume as it is and as it will be."""
        volume = self._meet(name)
        subject = f"move {volume.name}"
        driver = self._drivers.get(wish.driver)
        if driver is None:
            raise no_such_driver(subject, wish.driver, tuple(self._drivers))
        if volume.is_shared:
            raise Unsupported(
                subject, "it is a volume of the cluster, and other hosts use it", "Make another, and copy"
            )
        if volume.driver not in self._drivers:
            raise no_such_driver(subject, volume.driver, tuple(self._drivers))
        options = self._options(subject, volume, driver, wish)
        if driver.name == volume.driver and options == (volume.options or {}):
            raise Malformed(subject, f"its driver is {driver.name}, with these options, already")
        try:
            self._check(volume.name, wish.driver, options)
        except Malformed as error:  # which speaks of a creation
            raise Malformed(subject, error.why, error.hint) from error
        self._refuse_taken(subject, volume, driver)
        labels = {**(volume.labels or {}), **wish.labels}
        target = replace(
            volume,
            driver=wish.driver,
            options=options or None,
            labels=labels if labels or volume.labels is not None else None,
            mountpoint="",
            scope=scope_of(driver, options),
            is_shared=self._shared.concerns(driver, options) and not volume.is_anonymous,
            problem="",
        )
        return volume, target

    def _options(self, subject: str, volume: Volume, driver: VolumeDriver, wish: MoveWish) -> dict[str, str]:
        """Of a volume that all hosts will know: checked as the cluster checks them."""
        if not self._shared.concerns(driver, wish.options):
            return dict(wish.options)
        self._shared.required(subject)
        self._shared.check(subject, driver, wish.options)
        if self._shared.access_wanted(subject, driver, wish.options) is Access.ROX:
            raise Unsupported(subject, "with access=rox nobody could copy anything to it", "Choose rwo or rwx")
        if volume.is_anonymous:
            return self._options_of_nameless(subject, driver, wish)
        found = self._shared.find(volume.name)
        if found is not None and found.id != volume.id:  # of this one: what an attempt has left, which is put away
            why = self._shared.why_taken(volume.name)
            raise Conflict(subject, why, "Give this one another name first: orlop volume rename")
        return dict(wish.options)

    def _options_of_nameless(self, subject: str, driver: VolumeDriver, wish: MoveWish) -> dict[str, str]:
        """The cluster knows no volume without a name, so its storage must bear writers that know nothing of it."""
        if self._shared.access_wanted(subject, driver, wish.options) is Access.RWO:
            why = "one host at a time writes to that storage, and a volume without a name has no part in that"
            raise Unsupported(subject, why, "Give it a name first: orlop volume rename")
        return {key: value for key, value in wish.options.items() if key != ACCESS}

    def _refuse_taken(self, subject: str, volume: Volume, driver: VolumeDriver) -> None:
        if driver.name == volume.driver:
            if not isinstance(driver, Renaming):
                hint = "Make another volume, and copy"
                raise Unsupported(subject, f"the driver {driver.name} cannot rename volumes", hint)
            return
        if find_stored(driver, volume.name) is not None:
            why = f"the driver {driver.name} has a volume {volume.name} already"
            raise Conflict(subject, why, "Give this one another name first: orlop volume rename")

    # The move

    def move(self, name: str, wish: MoveWish, tell: Tell = lambda told: None) -> MoveResult:
        """Interrupted at any point, by an error, by what `tell` raises or by the daemon's end, the volume is what it
        was. Raises NoSuchVolume, Malformed, Conflict, Unsupported, Unavailable, HostFailure."""
        with self._records.redactor.hiding(wish.options):
            volume, target = self._checked(name, wish)
            with self._records.moving(volume, f"the driver {wish.driver}"):
                return self._move(volume, target, wish, tell)

    def _move(self, volume: Volume, target: Volume, wish: MoveWish, tell: Tell) -> MoveResult:
        hidden = self._hidden_name(volume, wish.driver)
        in_use = bool(self._records.holders(volume.name))
        size = self._facts.find(volume.id).disk_bytes if self._facts.is_current(volume.id, in_use) else -1
        work = MoveWork(self._tools, volume, target, hidden, wish, tell, size)
        work.refuse_busy()
        away = self._away(volume, wish)
        plan = plan_move(
            MoveFacts(
                volume.name,
                volume.driver,
                target.driver,
                hidden,
                away.id,
                _render(volume),
                _render(replace(target, id=secrets.token_hex(32), name=hidden, aliases=())),
                _render(target),
                render_record(away),
            )
        )
        is_kept = isinstance(self._drivers[volume.driver], Retirement)
        self._coming.announce(target)
        self.steps.under_way[hidden] = work
        try:
            self._executor.run(plan, lambda: self._outcome(work, away if is_kept else None))
            self._note(work, away if is_kept else None)
        except OrlopError as error:
            if not work.is_done and work.is_left_behind:
                error.hint = f"{error.hint}. {_LEFT}" if error.hint else _LEFT
            raise
        finally:
            # Under the volume's lock until here: nobody has seen it between being the one and being the other.
            try:
                work.finish()
            finally:
                del self.steps.under_way[hidden]
                if not work.is_done:
                    self._coming.withdraw(target)
        moved = work.moved
        self._coming.reveal(moved)
        self._moved(moved.name)
        self._events.publish("volume", "move", moved.name, {"driver": moved.driver, "oldDriver": volume.driver})
        return work.result(away if is_kept else None)

    def _outcome(self, work: MoveWork, away: RetiredVolume | None) -> list[Change]:
        changes: list[Change] = [Put("volumes", work.moved.name, work.settle())]
        if away is not None:
            changes.append(Put("retired", away.id, away))
        return changes

    def _note(self, work: MoveWork, away: RetiredVolume | None) -> None:
        self._records.remember(work.moved)
        work.keep()
        self._facts.changed(work.moved.id)
        if away is not None:
            self._retirements.take_in(away)

    def _hidden_name(self, volume: Volume, driver: str) -> str:
        if not isinstance(self._drivers[driver], Renaming):
            return volume.name
        return hidden_target(volume.name, secrets.token_hex(4))

    def _away(self, volume: Volume, wish: MoveWish) -> RetiredVolume:
        """Another volume than the moved one: with an id of its own, and nothing that keeps it from ending."""
        labels = {key: value for key, value in (volume.labels or {}).items() if key != PROTECT_LABEL}
        kept = replace(volume, id=secrets.token_hex(32), labels=labels or None, aliases=(), problem="")
        now = self._clock()
        reason = f"moved to the driver {wish.driver}"
        return RetiredVolume(kept.id, kept, now, self._retirements.policy.purge_at_ns(kept, now), reason)

    # After a crash

    def _left_by_crash(self, name: str) -> MoveWork | None:
        """Of a move that another daemon was at, what gives back."""
        volume = self._records.find(name)
        if volume is None:
            return None
        log.info("volume %s is where it was: its move was cut off", name)
        return MoveWork(self._tools, volume, volume, "", MoveWish(volume.driver), lambda told: None)


def _render(volume: Volume) -> str:
    return render_record(replace(volume, problem=""))
