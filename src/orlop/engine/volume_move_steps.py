"""The steps of moving a volume to other storage, done and undone.

    make          a volume of the target driver, under a name that no listing shows   undo: thrown away
    copy          its data, while the volume is in use                                undo: both sides let go
    stand-still   nobody writes any more: the rest, and a comparison                  undo: -
    give          who uses the volume has the copy                                    undo: has the source again
    retire        the source, out of sight, restorable                                undo: in sight again
    name          the copy gets the volume's name                                     undo: its own again

Until the journal has the outcome the source is the volume, and whatever happened is taken back: by an error, or at the
start after a crash. The same code does both; only what is in memory (who stands still, what is open) is a `Moving`, of
which there is none after a crash: then another one gives back what those have who stand still.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import msgspec

from orlop.drivers.volumes.abilities import Independent, Removal, Renaming, Retirement, SelfDescribing, Settling
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.volume_mounts import use_id
from orlop.engine.volume_move_users import MoveUsers
from orlop.engine.volume_shared import own_options
from orlop.engine.volume_steps import record_id
from orlop.errors import NotFound, OrlopError, Unavailable
from orlop.model.volume import Volume
from orlop.planning import volumes as plans
from orlop.planning.plan import Step

log = logging.getLogger(__name__)

MOVE_USE = hashlib.sha256(b"the daemon's move of a volume").hexdigest()


class Moving(Protocol):
    """A move that this daemon is at."""

    @property
    def has_begun(self) -> bool:
        """Whether something was copied, into what was found empty."""

    def copy(self) -> None: ...
    def stand_still(self) -> None: ...
    def let_go_of_source(self) -> None: ...
    def give(self) -> None: ...
    def name(self) -> None: ...
    def give_back(self) -> None: ...
    def close(self) -> None: ...


class VolumeMoveSteps:
    """`users` is set by the composition root."""

    def __init__(self, executor: Executor, drivers: Mapping[str, VolumeDriver]) -> None:
        self._drivers = drivers
        self.under_way: dict[str, Moving] = {}  # by the target's hidden name
        self.users: MoveUsers | None = None
        self.left_by_crash: Callable[[str], Moving | None] = lambda name: None  # of the volume of that name
        actions = {
            plans.MAKE_TARGET: StepActions(self._make, self._throw_away),
            plans.COPY: StepActions(lambda step: self._moving(step).copy(), self._close),
            plans.STAND_STILL: StepActions(lambda step: self._moving(step).stand_still()),
            plans.GIVE: StepActions(lambda step: self._moving(step).give(), self._give_back),
            plans.RETIRE_SOURCE: StepActions(self._retire, self._take_back),
            plans.NAME_TARGET: StepActions(self._name, self._hide),
        }
        executor.register(OperationKind(plans.MOVE, actions, "undo"))

    def driver(self, name: str) -> VolumeDriver:
        found = self._drivers.get(name)
        if found is None:
            raise Unavailable(f"volume driver {name}", "it is not there", "Make the driver available again")
        return found

    def _moving(self, step: Step) -> Moving:
        return self.under_way[_hidden(step)]

    def _target(self, step: Step) -> VolumeDriver:
        return self.driver(step.arguments["target"])

    def _source(self, step: Step) -> VolumeDriver:
        return self.driver(step.arguments["driver"])

    # The target

    def _make(self, step: Step) -> None:
        driver, record = self._target(step), step.arguments["unseen"]
        options = own_options(driver, msgspec.json.decode(record, type=Volume))
        driver.create(_hidden(step), options, record)
        _settle(driver)

    def _throw_away(self, step: Step) -> None:
        """It never was anybody's: nothing is lost but a copy. What is not known to be it stays."""
        driver, name = self._target(step), _hidden(step)
        if isinstance(driver, Independent):
            moving = self.under_way.get(name)
            self._remove_from_others(driver, name, is_sure=moving is not None and moving.has_begun)
            return
        wanted = record_id(step.arguments["unseen"])
        with suppress(NotFound):
            is_it = not isinstance(driver, SelfDescribing) or record_id(driver.metadata(name)) == wanted
            if is_it and isinstance(driver, Retirement):
                driver.retire(name, wanted, step.arguments["unseen"])
        if isinstance(driver, Retirement):
            driver.purge(wanted)
            _clean_up(driver)

    def _remove_from_others(self, driver: VolumeDriver, name: str, is_sure: bool) -> None:
        """It does not say whose a volume is. Only what was found empty, and we were at, is ours for sure: after a crash
        it may be one that somebody else has made."""
        if is_sure and isinstance(driver, Removal):
            with suppress(NotFound):
                driver.remove(name)
        else:
            log.warning("what may have been copied to volume %s of %s stays there: remove it there", name, driver.name)

    def _name(self, step: Step) -> None:
        if _hidden(step) == step.subject:
            return
        driver = self._target(step)
        assert isinstance(driver, Renaming)
        self._moving(step).name()
        driver.rename(_hidden(step), step.subject, step.arguments["record"])
        _settle(driver)

    def _hide(self, step: Step) -> None:
        driver, hidden = self._target(step), _hidden(step)
        if hidden == step.subject or not isinstance(driver, Renaming):
            return
        with suppress(NotFound):
            driver.get(hidden)
            return  # it never got the name
        if step.arguments["target"] == step.arguments["driver"] and not self._is_retired(step):
            return  # what has the name is the source
        with suppress(NotFound):
            driver.rename(step.subject, hidden, step.arguments["unseen"])

    # The source

    def _retire(self, step: Step) -> None:
        self._moving(step).let_go_of_source()
        driver = self._source(step)
        if isinstance(driver, Retirement):  # another's stays where it is
            driver.retire(step.subject, step.arguments["retired"], step.arguments["away"])
            _settle(driver)

    def _take_back(self, step: Step) -> None:
        driver = self._source(step)
        if isinstance(driver, Retirement) and self._is_retired(step):
            driver.restore(step.arguments["retired"], step.subject, step.arguments["before"])

    def _is_retired(self, step: Step) -> bool:
        driver = self._source(step)
        return isinstance(driver, Retirement) and step.arguments["retired"] in driver.list_retired()

    # Who uses it

    def _give_back(self, step: Step) -> None:
        """The source has its name again, and the target its own."""
        moving = self.under_way.get(_hidden(step)) or self.left_by_crash(step.subject)
        if moving is not None:
            moving.give_back()
        driver = self._target(step)
        volume = msgspec.json.decode(step.arguments["before"], type=Volume)
        uses = self.users.of(volume) if self.users is not None else []
        for use in uses:
            with suppress(NotFound):
                driver.detach(_hidden(step), use_id(use.mount, use.container.id))

    def _close(self, step: Step) -> None:
        moving = self.under_way.get(_hidden(step))
        if moving is not None:
            moving.close()
            return
        with suppress(NotFound):
            self._target(step).detach(_hidden(step), MOVE_USE)  # the source's use ends with all that nobody has now


def _hidden(step: Step) -> str:
    return step.arguments["hidden"]


def _settle(driver: VolumeDriver) -> None:
    if isinstance(driver, Settling):
        driver.settle()


def _clean_up(driver: Retirement) -> None:
    try:
        driver.cleanup()
    except (OrlopError, OSError) as error:
        log.warning("what is left of a copy goes later: %s", error)
