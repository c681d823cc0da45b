"""Plans of what is done to volumes.

    volume.create    make it                                   done or not, in one step
    volume.remove    retire one or many                        each done or not, in one step
    volume.restore   bring it back                             done or not, in one step
    volume.purge     give it up; bytes go later                done or not, in one step
    volume.publish   put staged content in place               a crash finishes it
    volume.reveal    name a volume that was made with its data done or not, in one step

    volume.adopt     take over another engine's directory      done or not, in one step
    volume.change    other options and another record          a crash undoes it
    volume.rename    another name                              a crash undoes it
    volume.move      other storage, its data copied there      a crash undoes it

    volume.arrive    name a volume that came from another host done or not, in one step
    volume.depart    retire one that went to another host      done or not, in one step

Every plan says the whole record it is about (`record`, JSON): the driver keeps it beside the data.
"""

from collections.abc import Collection, Mapping, Sequence

from orlop.model.value import dataclass
from orlop.planning.plan import Plan, Step

CREATE, REMOVE, RESTORE, PURGE, PUBLISH, REVEAL = (
    f"volume.{verb}" for verb in ("create", "remove", "restore", "purge", "publish", "reveal")
)
RETIRE = "volume.retire"
CHANGE, RENAME = "volume.change", "volume.rename"
ADOPT = "volume.adopt"
MOVE = "volume.move"
MAKE_TARGET, COPY, STAND_STILL, GIVE, RETIRE_SOURCE, NAME_TARGET = (
    f"{MOVE}.{verb}" for verb in ("make", "copy", "stand-still", "give", "retire", "name")
)
ARRIVE, DEPART = "volume.arrive", "volume.depart"


def plan_create(name: str, driver: str, record: str) -> Plan:
    reason = f"no volume of that name exists with the driver {driver}"
    return Plan(CREATE, name, (Step(CREATE, name, reason, {"driver": driver, "record": record}),))


def plan_remove(removals: Sequence[tuple[str, str, str]], driver: str, reason: str) -> Plan:
    """`removals`: name, retired id, and the record of the retired volume."""
    steps = [
        Step(RETIRE, name, reason, {"driver": driver, "id": retired_id, "record": record})
        for name, retired_id, record in removals
    ]
    subject = removals[0][0] if len(removals) == 1 else f"{len(removals)} volumes"
    return Plan(REMOVE, subject, tuple(steps))


def brief_removal(plan: Plan) -> Plan:
    """Without the records, which are among the retired ones once it is done."""
    steps = [Step(step.action, step.subject, step.reason, _without_record(step.arguments)) for step in plan.steps]
    return Plan(plan.operation, plan.subject, tuple(steps))


def _without_record(arguments: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in arguments.items() if key != "record"}


def plan_restore(retired_id: str, name: str, driver: str, record: str) -> Plan:
    reason = f"it was retired as {retired_id[:12]} and is wanted back"
    arguments = {"driver": driver, "id": retired_id, "record": record}
    return Plan(RESTORE, name, (Step(RESTORE, name, reason, arguments),))


def plan_purge(retired_id: str, name: str, driver: str, reason: str) -> Plan:
    return Plan(PURGE, name, (Step(PURGE, retired_id, reason, {"driver": driver}),))


def plan_publish(name: str, driver: str, token: str, in_use: bool) -> Plan:
    reason = "the image's content is staged and the volume was empty"
    arguments = {"driver": driver, "token": token, "in_use": "yes" if in_use else ""}
    return Plan(PUBLISH, name, (Step(PUBLISH, name, reason, arguments),))


def plan_reveal(name: str, driver: str, token: str, record: str, asked_for: Collection[str]) -> Plan:
    """`asked_for`: names of options that were not taken over from another volume."""
    reason = "its data is complete and no volume of that name exists"
    arguments = {"driver": driver, "token": token, "record": record, "asked_for": ",".join(sorted(asked_for))}
    return Plan(REVEAL, name, (Step(REVEAL, name, reason, arguments),))


def plan_change(name: str, driver: str, before: str, record: str) -> Plan:
    """`before` is the record to go back to."""
    arguments = {"driver": driver, "before": before, "record": record}
    return Plan(CHANGE, name, (Step(CHANGE, name, "its labels, options or other names are to change", arguments),))


def plan_rename(name: str, new_name: str, driver: str, before: str, record: str) -> Plan:
    arguments = {"driver": driver, "new": new_name, "before": before, "record": record}
    return Plan(RENAME, name, (Step(RENAME, name, f"it is to be called {new_name}", arguments),))


def plan_adopt(name: str, driver: str, source: str, engine: str, record: str) -> Plan:
    reason = f"{engine} has it, and nothing there refers to it"
    return Plan(ADOPT, name, (Step(ADOPT, name, reason, {"driver": driver, "source": source, "record": record}),))


@dataclass(frozen=True, slots=True)
class MoveFacts:
    """What each step of a move is told. Records are JSON."""

    name: str
    source: str  # driver
    target: str  # driver
    hidden: str  # the name that the target has until it takes the volume's; the same where its driver cannot rename
    retired_id: str  # under which the source can be restored
    before: str  # record of the volume as it is
    unseen: str  # record of the target as long as it is hidden
    record: str  # record of the volume as it will be
    away: str  # record of the source once it is retired


def plan_move(facts: MoveFacts) -> Plan:
    to, held = f"the driver {facts.target}", "nobody writes to it now"
    arguments = {
        "driver": facts.source,
        "target": facts.target,
        "hidden": facts.hidden,
        "retired": facts.retired_id,
        "before": facts.before,
        "unseen": facts.unseen,
        "record": facts.record,
        "away": facts.away,
    }
    reasons = {
        MAKE_TARGET: f"its data is to be kept by {to}",
        COPY: "most of its data can be copied while it is in use",
        STAND_STILL: "what was written last has to get there, too, and all of it is to be compared",
        GIVE: f"{to} has all of its data: who uses it goes on with the copy",
        RETIRE_SOURCE: f"the copy takes its place, and {held}",
        NAME_TARGET: "the name is free",
    }
    return Plan(MOVE, facts.name, tuple(Step(action, facts.name, why, arguments) for action, why in reasons.items()))


def plan_arrive(name: str, driver: str, token: str, record: str, source: str) -> Plan:
    reason = f"its data is complete, and the cluster says that it is no longer node {source}'s"
    return Plan(ARRIVE, name, (Step(ARRIVE, name, reason, {"driver": driver, "token": token, "record": record}),))


def plan_depart(name: str, driver: str, copy_id: str, record: str, target: str) -> Plan:
    """`record` is that of the retired volume."""
    reason = f"it is node {target}'s now"
    return Plan(DEPART, name, (Step(DEPART, name, reason, {"driver": driver, "id": copy_id, "record": record}),))
