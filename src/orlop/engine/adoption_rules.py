"""What becomes of each volume of another engine's data root: the rules, on facts that were read before.

gone, unless it was asked for by name      passed over
its data lies elsewhere, or is no directory    refused
the name is no name here, or taken             refused, another name can be given
somebody has it mounted                        refused; --force takes a copy of what may be half written
containers there refer to it                   moved only with --force, for they would lose it; copied
it lies on another file system                 refused, unless copied
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from orlop.errors import OrlopError
from orlop.foreign.volume import ForeignVolume
from orlop.model.value import dataclass

_LIMITS = ("size", "inodes")


class Action(StrEnum):
    MOVE = "move"
    COPY = "copy"
    REFUSE = "refuse"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class AdoptionWish:
    names: Sequence[str] = ()  # none: all
    copy: bool = False
    force: bool = False
    dry_run: bool = False
    new_names: Mapping[str, str] = field(default_factory=dict)  # by the name there


@dataclass(frozen=True, slots=True)
class Facts:
    is_taken: Callable[[str], bool]  # whether a volume of ours has that name
    check: Callable[[str, Mapping[str, str]], None]  # raises for a name and options that cannot be
    uses: Mapping[str, Sequence[str]]
    not_movable: str = ""  # why nothing there can be moved
    limits_move: bool = False  # whether what is moved can have a limit


@dataclass(frozen=True, slots=True)
class Decision:
    volume: ForeignVolume
    name: str  # here
    action: Action
    options: Mapping[str, str] | None = None
    why: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()


def decide_all(volumes: Sequence[ForeignVolume], wish: AdoptionWish, facts: Facts) -> list[Decision]:
    """In the order of the volumes; names that were asked for and are not there come last."""
    decisions: list[Decision] = []
    claimed: set[str] = set()
    wanted = [volume for volume in volumes if not wish.names or volume.name in wish.names]
    for volume in wanted:
        decision = _decide(volume, wish, facts, claimed)
        if decision.action in (Action.MOVE, Action.COPY):
            claimed.add(decision.name)
        decisions.append(decision)
    there = {volume.name for volume in volumes}
    for name in dict.fromkeys(wish.names):
        if name not in there:
            decisions.append(_absent(name, wish, facts))
    return decisions


def _absent(name: str, wish: AdoptionWish, facts: Facts) -> Decision:
    new_name = wish.new_names.get(name, name)
    hint = f"A volume {new_name} is here: perhaps it was taken over before" if facts.is_taken(new_name) else ""
    return Decision(ForeignVolume(name, Path()), new_name, Action.REFUSE, None, "no such volume there", hint)


def _decide(volume: ForeignVolume, wish: AdoptionWish, facts: Facts, claimed: set[str]) -> Decision:
    name = wish.new_names.get(volume.name, volume.name)

    def refuse(why: str, hint: str = "") -> Decision:
        return Decision(volume, name, Action.REFUSE, volume.options, why, hint, volume.notes)

    if volume.is_gone and not wish.names:
        return Decision(volume, name, Action.LEAVE, volume.options, volume.obstacle)
    if volume.is_gone:
        return _absent(volume.name, wish, facts)
    if volume.obstacle:
        return refuse(volume.obstacle, volume.hint)
    another = f"Give it another name: --as {volume.name}=NEW"
    if facts.is_taken(name) or name in claimed:
        return refuse(f"a volume {name} is here already", another)
    try:
        facts.check(name, {})
    except OrlopError as error:
        return refuse(error.why, another)
    try:
        options, notes = _usable_options(volume, name, wish, facts)
    except OrlopError as error:
        return refuse(f"its options cannot be had here: {error.why}", error.hint)
    notes = (*volume.notes, *notes)
    uses = facts.uses.get(volume.name, ())
    if uses and not (wish.copy and wish.force):
        return refuse(f"it is in use: {uses[0]}", "Stop what uses it first")
    if wish.copy:
        return Decision(volume, name, Action.COPY, options, notes=(*notes, *(f"copied while {use}" for use in uses)))
    named = ", ".join(volume.containers)
    if volume.containers and not wish.force:
        hint = "Take a copy with --copy; or, when they are not needed any more, --force"
        return refuse(f"containers there refer to it: {named}", hint)
    if facts.not_movable:
        return refuse(facts.not_movable, "Copy it: --copy")
    if volume.containers:
        notes = (*notes, f"containers there lose it: {named}")
    return Decision(volume, name, Action.MOVE, options, notes=notes)


def _usable_options(
    volume: ForeignVolume, name: str, wish: AdoptionWish, facts: Facts
) -> tuple[Mapping[str, str] | None, tuple[str, ...]]:
    """The options that it can have here. A copy gets its limit where limits can be had, a directory that is moved only
    where the file system limits directories. Raises what the check raises."""
    if volume.options is None:
        return None, ()
    if wish.copy or facts.limits_move:
        try:
            facts.check(name, volume.options)
        except OrlopError:
            pass
        else:
            return volume.options, ()
    options, lost = _without_limits(volume.options)
    facts.check(name, options)
    notes = tuple(
        f"its limit {key}={value} does not come along: orlop volume update {name} --opt {key}={value}"
        for key, value in lost.items()
    )
    return options or None, notes


def _without_limits(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The options without limits, and the limits. Alone, `o` holds words that are options themselves."""
    options = {key: value for key, value in given.items() if key not in _LIMITS}
    lost = {key: value for key, value in given.items() if key in _LIMITS}
    if "o" in options and not (options.get("type") or options.get("device")):
        words = options.pop("o").split(",")
        limits = [word for word in words if word.partition("=")[0].strip() in _LIMITS]
        lost |= {key.strip(): value for key, _, value in (word.partition("=") for word in limits)}
        if kept := ",".join(word for word in words if word not in limits):
            options["o"] = kept
    return options, lost
