"""Volumes of Docker's or Podman's data root become ours: moved in one step each, or copied.

Facts are read once, the other engine kept out meanwhile; each volume is decided on (engine.adoption_rules), then done,
one by one: what cannot be done for one keeps no other. A volume that is moved is an operation of its own; one that is
copied is made together with its data (engine.volume_copies). Run again, it goes on with what is left.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from orlop.drivers.volumes.abilities import Adopting, SelfDescribing
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.adoption_rules import Action, AdoptionWish, Decision, Facts, decide_all
from orlop.engine.events import Events
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.volume_copies import NewVolume, VolumeCopies
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_steps import VolumeSteps, record_id, render_record
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unsupported
from orlop.foreign.roots import open_foreign_root
from orlop.foreign.uses import find_uses
from orlop.foreign.volume import DATA, DamagedRoot, ForeignRoot, ForeignVolume
from orlop.kernel.openat2 import open_without_links
from orlop.model.on_hang import for_driver
from orlop.model.value import dataclass
from orlop.model.volume import DEFAULT_DRIVER, Volume
from orlop.planning import volumes as plans
from orlop.planning.plan import Plan, Step
from orlop.store.journal import Change, Put

log = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of one volume."""

    engine: str
    decision: Decision
    failure: str = ""  # it was decided to take it, and this went wrong
    entries: int = -1  # of a copy
    size_bytes: int = -1

    @property
    def is_taken(self) -> bool:
        return self.decision.action in (Action.MOVE, Action.COPY) and not self.failure


Report = Callable[[Adoption], None]
CopyProgress = Callable[[str, int, int], None]  # the volume's name there, entries and bytes so far


class VolumeAdoption:
    """Thread-safe: one at a time."""

    def __init__(
        self,
        executor: Executor,
        records: VolumeRecords,
        steps: VolumeSteps,
        drivers: Mapping[str, VolumeDriver],
        locks: VolumeLocks,
        events: Events,
        copies: VolumeCopies,
    ) -> None:
        self._executor = executor
        self._records = records
        self._steps = steps
        self._drivers = drivers
        self._locks = locks
        self._events = events
        self._copies = copies
        self._busy = threading.Lock()
        self._stored: dict[str, StoredVolume] = {}
        step = StepActions(self._adopt, self._give_back)
        executor.register(OperationKind(plans.ADOPT, {plans.ADOPT: step}, "found"))

    def adopt(self, root: str, wish: AdoptionWish, report: Report, progress: CopyProgress) -> None:
        """`report` is told of each volume when it is done, or only decided on. Raises, before the first of them,
        Malformed, NotFound and Conflict. What `progress` raises ends it."""
        if not self._busy.acquire(blocking=False):
            raise Conflict(f"adopt {root}", "volumes are being taken over already", "Wait for that to end")
        try:
            foreign = open_foreign_root(root)
            with foreign.hold():
                for decision in self._decide(foreign, wish):
                    if wish.dry_run or decision.action in (Action.REFUSE, Action.LEAVE):
                        report(Adoption(foreign.engine, decision))
                    else:
                        report(self._carry_out(foreign, decision, progress))
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise  # whoever asked is not there any more
            where = f" ({error.filename})" if error.filename else ""
            raise HostFailure(f"adopt {root}", f"{error.strerror or error}{where}") from error
        finally:
            self._busy.release()

    def _decide(self, foreign: ForeignRoot, wish: AdoptionWish) -> Sequence[Decision]:
        driver = self._drivers[DEFAULT_DRIVER]
        volumes = _volumes_of(foreign, wish.force)
        if not foreign.place.is_dir():
            return decide_all(volumes, wish, Facts(self._is_taken, driver.check, {}))
        not_movable, limits_move = f"the driver {driver.name} cannot take directories over", False
        if isinstance(driver, Adopting):
            not_movable, limits_move = driver.why_not_adoptable(foreign.place / "any"), driver.limits_adopted
        facts = Facts(self._is_taken, driver.check, find_uses(foreign.place), not_movable, limits_move)
        return decide_all(volumes, wish, facts)

    def _is_taken(self, name: str) -> bool:
        if self._records.why_taken(name):
            return True
        try:
            self._drivers[DEFAULT_DRIVER].get(name)
        except NotFound:
            return False
        except OrlopError:
            return True
        return True

    def _carry_out(self, foreign: ForeignRoot, decision: Decision, progress: CopyProgress) -> Adoption:
        done = Adoption(foreign.engine, decision)
        source = decision.volume.place / decision.volume.name
        try:
            if decision.action is Action.MOVE:
                self._move(foreign.engine, decision, source)
            elif _is_elsewhere(decision.options):
                self._create(decision)
            else:
                return self._copy(done, source, progress)
        except OrlopError as error:
            log.warning("volume %s of %s is not taken over: %s", decision.volume.name, foreign.path, error)
            return replace(done, failure=error.message)
        return done

    def _copy(self, done: Adoption, source: Path, progress: CopyProgress) -> Adoption:
        decision = done.decision
        volume = decision.volume
        subject = f"adopt {volume.name}"
        wish = NewVolume(decision.name, DEFAULT_DRIVER, decision.options, volume.labels, volume.created_at_ns)
        try:
            fd = open_without_links(str(source / DATA), _DIRECTORY)
        except OSError as error:
            raise HostFailure(subject, f"{source / DATA}: {error.strerror}") from error
        try:
            made = self._copies.copy_tree(fd, wish, lambda *done: progress(volume.name, *done), subject)
        finally:
            os.close(fd)
        missed = tuple(f"not copied: {path}: {why}" for path, why in made.missed.entries)
        if made.missed.count > len(missed):
            missed = (*missed, f"and {made.missed.count - len(missed)} more were not copied")
        return replace(
            done,
            decision=replace(decision, notes=(*decision.notes, *missed)),
            entries=made.entries,
            size_bytes=made.size_bytes,
        )

    def _move(self, engine: str, decision: Decision, source: Path) -> None:
        volume = _record(decision)
        plan = plans.plan_adopt(volume.name, volume.driver, str(source), engine, render_record(volume))
        self._run(decision, volume, plan, lambda: self._stored.pop(volume.name))

    def _create(self, decision: Decision) -> None:
        """A volume with no data of its own."""
        volume = _record(decision)
        plan = plans.plan_create(volume.name, volume.driver, render_record(volume))
        self._run(decision, volume, plan, lambda: self._steps.take_stored(volume.name))

    def _run(self, decision: Decision, volume: Volume, plan: Plan, stored: Callable[[], StoredVolume]) -> None:
        def outcome() -> Sequence[Change]:
            nonlocal volume
            volume = replace(volume, mountpoint=stored().mountpoint)
            return [Put("volumes", volume.name, volume)]

        with self._free(decision):
            self._executor.run(plan, outcome)
            self._records.remember(volume)
        self._events.publish("volume", "create", volume.name, {"driver": volume.driver})

    @contextmanager
    def _free(self, decision: Decision) -> Iterator[None]:
        """While nobody else takes the name. Raises Conflict where somebody has meanwhile."""
        with self._locks.hold([decision.name]):
            if self._records.why_taken(decision.name):
                raise Conflict(f"adopt {decision.volume.name}", f"a volume {decision.name} is here already")
            yield

    # Steps

    def _adopting(self, step: Step) -> Adopting:
        driver = self._drivers[step.arguments["driver"]]
        if not isinstance(driver, Adopting):
            raise Unsupported(f"volume driver {driver.name}", "it cannot take directories over")
        return driver

    def _adopt(self, step: Step) -> None:
        record = step.arguments["record"]
        options = for_driver(msgspec.json.decode(record, type=Volume).options)
        source = Path(step.arguments["source"])
        self._stored[step.subject] = self._adopting(step).adopt(source, step.subject, options, record)

    def _give_back(self, step: Step) -> None:
        """The journal could not be told. Only what this plan took goes back."""
        driver = self._adopting(step)
        try:
            if isinstance(driver, SelfDescribing):
                if record_id(driver.metadata(step.subject)) != record_id(step.arguments["record"]):
                    return
                driver.give_back(step.subject, Path(step.arguments["source"]))
        except NotFound:
            return


def _volumes_of(foreign: ForeignRoot, force: bool) -> Sequence[ForeignVolume]:
    try:
        return foreign.volumes()
    except DamagedRoot as error:
        if force:
            log.warning("%s: volumes are taken over by their folders", error)
            return foreign.volumes_by_folder()
        hint = "--force takes over what lies there by its folders, without labels"
        raise Conflict(f"adopt {foreign.path}", str(error), hint) from error


def _record(decision: Decision) -> Volume:
    volume = decision.volume
    return Volume(
        decision.name,
        secrets.token_hex(32),
        DEFAULT_DRIVER,
        volume.created_at_ns,
        "",
        volume.labels,
        decision.options,
    )


def _is_elsewhere(options: Mapping[str, str] | None) -> bool:
    """Whether the data is in what the options name, and not in the directory."""
    return bool(options and (options.get("type") or options.get("device")))
