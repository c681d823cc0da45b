"""What the steps of volume plans do, and what a finished plan means for the journal.

Making, retiring, restoring and giving up a volume are one rename each, and each directory says whose it is: so a start
finds by looking what was done (engine.volume_reconcile), and no intent has to be on the disk before. Making and
retiring do not even wait until their rename is on the disk (engine.settling): should a power cut lose it, the mark in
the journal makes the next start do it again.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

import msgspec

from orlop.drivers.volumes.abilities import Filling, Independent, Removal, Retirement, SelfDescribing, Settling, Staging
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.executor import Executor, OperationKind, StepActions
from orlop.engine.settling import Settler
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import own_options
from orlop.errors import Conflict, NotFound, OrlopError, Unavailable, Unsupported
from orlop.model.volume import RetiredVolume, Volume
from orlop.planning import volumes as plans
from orlop.planning.plan import Plan, Step
from orlop.store.journal import Change, Drop, Put

log = logging.getLogger(__name__)


def render_record(record: Volume | RetiredVolume) -> str:
    return msgspec.json.encode(record).decode()


class VolumeSteps:
    """Registered with the executor once. What a step found out is fetched by whoever ran the plan."""

    def __init__(
        self, executor: Executor, drivers: Mapping[str, VolumeDriver], records: VolumeRecords, settler: Settler
    ) -> None:
        self._drivers = drivers
        self._records = records
        self._settler = settler
        self._lock = threading.Lock()
        self._stored: dict[str, StoredVolume] = {}
        self._refused: dict[str, OrlopError | OSError] = {}
        self._gone: set[str] = set()
        create = StepActions(self._create, self._discard)
        removal = {
            plans.RETIRE: StepActions(self._retire),
        }
        restore, purge = StepActions(self._restore), StepActions(self._purge)
        publish = StepActions(self._publish)
        for kind in (
            OperationKind(plans.CREATE, {plans.CREATE: create}, "found", settle=self._settle, look=self._remake),
            OperationKind(
                plans.REMOVE,
                removal,
                "found",
                settle=self._settle,
                look=self._retire_again,
                brief=plans.brief_removal,
            ),
            OperationKind(plans.RESTORE, {plans.RESTORE: restore}, "found"),
            OperationKind(plans.PURGE, {plans.PURGE: purge}, "found"),
            OperationKind(plans.PUBLISH, {plans.PUBLISH: publish}, "finish"),
            OperationKind(plans.REVEAL, {plans.REVEAL: StepActions(self._reveal, self._conceal)}, "found"),
        ):
            executor.register(kind)

    def take_stored(self, name: str) -> StoredVolume:
        with self._lock:
            return self._stored.pop(name)

    def take_refusal(self, name: str) -> OrlopError | OSError | None:
        """Why a volume of a removal stayed; None when it went."""
        with self._lock:
            return self._refused.pop(name, None)

    def take_gone(self, retired_id: str) -> bool:
        """Whether nothing was left to restore."""
        gone = retired_id in self._gone
        self._gone.discard(retired_id)
        return gone

    def retirement(self, driver: str) -> Retirement:
        found = self._drivers.get(driver)
        if not isinstance(found, Retirement):
            raise Unsupported(f"volume driver {driver}", "it cannot retire volumes")
        return found

    # Outcomes: journal changes of a finished plan

    def removal_outcome(self, retired: Sequence[RetiredVolume]) -> Sequence[Change]:
        """Of these, as they were to be."""
        gone = [found for found in retired if found.volume.name not in self._refused]
        kept = [found for found in gone if found.id not in self._gone]
        forgotten = [Drop("volumes", found.volume.name) for found in gone]
        return [*forgotten, *(Put("retired", found.id, found) for found in kept)]

    def purge_outcome(self, plan: Plan) -> Sequence[Change]:
        return [Drop("retired", plan.steps[0].subject)]

    # Steps

    def _create(self, step: Step) -> None:
        volume = msgspec.json.decode(step.arguments["record"], type=Volume)
        driver = self._drivers[step.arguments["driver"]]
        stored = driver.create(step.subject, own_options(driver, volume), step.arguments["record"])
        with self._lock:
            self._stored[step.subject] = stored

    def _discard(self, step: Step) -> None:
        """What this create made, and not what was there already under that name."""
        driver = self._drivers[step.arguments["driver"]]
        if isinstance(driver, SelfDescribing):
            try:
                found = record_id(driver.metadata(step.subject))
            except NotFound:
                return
            if found != record_id(step.arguments["record"]):
                log.warning("volume %s stays: it was there before its creation, which failed", step.subject)
                return
        driver.discard(step.subject)

    def _retire(self, step: Step) -> None:
        """One volume that cannot go does not keep the others of a prune: its refusal is noted, and `take_refusal`
        hands it to the caller."""
        retired_id = step.arguments["id"]
        with self._lock:
            self._refused.pop(step.subject, None)
        try:
            self._retire_or_remove(step, retired_id)
        except NotFound:
            log.warning("volume %s: its data was gone before it was removed", step.subject)
            self._gone.add(retired_id)
        except (OrlopError, OSError) as error:
            with self._lock:
                self._refused[step.subject] = error

    def _retire_or_remove(self, step: Step, retired_id: str) -> None:
        holders = self._records.holders(step.subject)
        if holders:
            # Asked before the plan was made, and again here: a removal that a crash cut off may be finished much later.
            raise Conflict(f"remove {step.subject}", f"volume is in use - [{', '.join(holders)}]")
        driver = self._drivers.get(step.arguments["driver"])
        if driver is None:
            why = f"its driver {step.arguments['driver']} is not there"
            hint = "Make the driver available again, or forget the volume with: docker volume rm -f"
            raise Unavailable(f"remove {step.subject}", why, hint)
        if isinstance(driver, Retirement):
            driver.retire(step.subject, retired_id, step.arguments["record"])
        elif isinstance(driver, Removal):
            driver.remove(step.subject)
            self._gone.add(retired_id)
        else:
            raise Unsupported(f"remove {step.subject}", f"driver {driver.name} can neither retire nor remove volumes")

    def _settle(self, plan: Plan, mark: Change) -> None:
        driver = self._drivers.get(plan.steps[0].arguments["driver"])
        if isinstance(driver, Settling):
            self._settler.add(driver, [step.subject for step in plan.steps], [mark])
        else:
            self._settler.drop([mark])

    def _remake(self, plan: Plan) -> None:
        """Its directory may not have reached the disk. Then it held nothing: nobody can have it attached before it is
        settled."""
        step = plan.steps[0]
        wanted = msgspec.json.decode(step.arguments["record"], type=Volume)
        known = self._records.find(step.subject)
        driver = self._drivers.get(step.arguments["driver"])
        if driver is None or isinstance(driver, Independent):
            return  # what it was asked for is its own to keep
        if known is None or known.id != wanted.id or known.name != wanted.name:
            return  # removed or renamed meanwhile, or another one by now
        if isinstance(driver, Retirement) and wanted.id in driver.list_retired():
            return  # its removal was cut off
        try:
            driver.get(step.subject)
            if not isinstance(driver, SelfDescribing) or record_id(driver.metadata(step.subject)):
                return
            driver.discard(step.subject)  # half of it reached the disk
        except NotFound:
            pass
        except Conflict:
            return  # somebody who works on the host put something in; that is the volume now
        self._create(step)
        self.take_stored(step.subject)

    def _retire_again(self, plan: Plan) -> None:
        """The rename may not have reached the disk: then the removed volume is in sight as if nothing had been. Or the
        rename has, and the record that is to lie beside the data has not."""
        driver = self._drivers.get(plan.steps[0].arguments["driver"])
        if not isinstance(driver, Retirement):
            return
        retired = {found.id: found for found in self._records.retired()}
        out_of_sight = set(driver.list_retired())
        for step in plan.steps:
            found = retired.get(step.arguments["id"])
            if found is None:
                continue  # it stayed, or was restored or purged, which is on the disk
            is_there = found.id in out_of_sight
            if isinstance(driver, Settling) if is_there else self._is_in_place(driver, step.subject, found.id):
                driver.retire(step.subject, found.id, render_record(found))

    def _is_in_place(self, driver: VolumeDriver, name: str, volume_id: str) -> bool:
        """A volume of that name that does not say to be another one. One that does not say who it is was never
        settled, so it holds nothing that could be hidden by mistake."""
        try:
            found = record_id(driver.metadata(name)) if isinstance(driver, SelfDescribing) else volume_id
            driver.get(name)
        except NotFound:
            return False
        return found in ("", volume_id)

    def _restore(self, step: Step) -> None:
        retirement = self.retirement(step.arguments["driver"])
        stored = retirement.restore(step.arguments["id"], step.subject, step.arguments["record"])
        with self._lock:
            self._stored[step.subject] = stored

    def _purge(self, step: Step) -> None:
        self.retirement(step.arguments["driver"]).purge(step.subject)

    def _publish(self, step: Step) -> None:
        driver = self._drivers[step.arguments["driver"]]
        assert isinstance(driver, Staging)
        driver.publish(step.subject, step.arguments["token"], bool(step.arguments["in_use"]))

    def _reveal(self, step: Step) -> None:
        driver = self._drivers[step.arguments["driver"]]
        assert isinstance(driver, Filling)
        stored = driver.reveal(step.arguments["token"], step.subject, step.arguments["asked_for"].split(","))
        with self._lock:
            self._stored[step.subject] = stored

    def _conceal(self, step: Step) -> None:
        """It has its name, and the journal could not be told. Nobody knows of it yet, so it goes; but only if what has
        that name is what this plan made."""
        driver = self._drivers[step.arguments["driver"]]
        wanted = record_id(step.arguments["record"])
        if not isinstance(driver, Retirement) or not isinstance(driver, SelfDescribing):
            return
        try:
            if wanted and record_id(driver.metadata(step.subject)) == wanted:
                driver.retire(step.subject, wanted, step.arguments["record"])
                driver.purge(wanted)
        except NotFound:
            return


def record_id(text: str) -> str:
    """The id in a volume's record; "" when the text is none."""
    try:
        return msgspec.json.decode(text, type=_Identified).id
    except msgspec.MsgspecError:
        return ""


class _Identified(msgspec.Struct):
    id: str
