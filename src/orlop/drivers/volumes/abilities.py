"""What a volume driver may be able to do besides (driver.py): one Protocol for each ability.

A driver has an ability when it has its methods. Nothing else has to be said, and nobody asks a driver for what it is:
only for what it can do. The rules of the contract hold here as well: who calls, that a call may be repeated, and which
errors there are.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from orlop.drivers.volumes.asking import Asking as Asking
from orlop.drivers.volumes.asking import Question as Question
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.model.abilities import Ability
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """How much a volume holds."""

    size_bytes: int  # apparent: sum of st_size of all but directories, hard links once
    disk_bytes: int  # what it takes on its disk
    entries: int  # files, directories and everything else below the top; -1 where only bytes are counted
    last_write_ns: int  # newest mtime or ctime that was seen; 0 where none can be told


@dataclass(frozen=True, slots=True)
class Limits:
    """What a volume may hold at most; 0 = no limit."""

    size_bytes: int = 0
    inodes: int = 0
    mechanism: str = ""  # who enforces it, for people: "project quota", "btrfs qgroup", "image file (ext4)"


@runtime_checkable
class LastingUses(Ability, Protocol):
    """The ability to remember uses when the daemon ends, for what has to be let go of when the last one ends."""

    def detach_others(self, use_ids: Collection[str]) -> None:
        """At start: these uses go on; every other was cut off by a crash."""


@runtime_checkable
class Glancing(Ability, Protocol):
    """The ability to say which volumes there are without looking at each of them."""

    def names(self) -> Sequence[str]:
        """Of everything that may be a volume."""

    def look(self, names: Iterable[str]) -> Sequence[StoredVolume]:
        """As `list_volumes`, of these only; what is no volume is left out."""


@runtime_checkable
class Removal(Ability, Protocol):
    """What a driver without `Retirement` can do: a removal as final as the storage makes it."""

    def remove(self, name: str) -> None: ...


@runtime_checkable
class Independent(Ability, Protocol):
    """Somebody else's driver, whose volumes come and go without us. It may be away, or not answer: so nobody asks it
    while the daemon starts, and what it is known to have is known from memory."""

    @property
    def is_silent(self) -> bool:
        """Whether it did not answer lately: whoever can do without does not ask."""

    def find(self, name: str) -> StoredVolume | None:
        """What it says it has; None where it says it has none, or has only an error for an answer: then it may be asked
        to make one, and judges by itself. Raises Unavailable where it gives no answer, soon."""

    def seen(self) -> Sequence[StoredVolume]:
        """As it listed them the last time. Asks nobody."""


@runtime_checkable
class Settling(Ability, Protocol):
    """The ability to put off making things durable, so that many share the cost of one wait for the disk."""

    def settle(self) -> None:
        """What `create` and `retire` did so far survives a power cut once this returns. Without this ability it does
        when they return."""


@runtime_checkable
class Retirement(Ability, Protocol):
    """The ability to undo a removal."""

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        """Out of sight, name free, in one atomic step. Raises Conflict while anything is
        mounted at or below the data."""

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        """In sight again, under this name and with this metadata, nothing replaced, durable. Raises Conflict when the
        name is taken, NotFound for an id that is neither retired nor restored under that name."""

    def purge(self, retired_id: str) -> None:
        """The one decision to destroy bytes of a volume: it can never be restored from here on, and `cleanup` deletes
        the bytes. Raises Conflict while anything is mounted at or below the data."""

    def cleanup(self) -> None:
        """Delete what was purged. Never crosses a mount point or a symbolic link. May take long; called again after
        a crash, and one call's failure for one volume keeps nothing else from being deleted."""

    def list_retired(self) -> Sequence[str]:
        """Ids of what was retired and not purged."""


@runtime_checkable
class SelfDescribing(Ability, Protocol):
    """The ability to give back the metadata of `create`, `change` and `retire`, "" where there is none."""

    def metadata(self, name: str) -> str: ...

    def retired_metadata(self, retired_id: str) -> str:
        """That of `retire`; where it was lost, the volume's own."""

    def options(self, name: str) -> Mapping[str, str]:
        """What the driver itself knows of the volume's options, whoever made it."""

    def describe(self, name: str, metadata: str) -> None:
        """Keep this metadata from now on, durably where it takes the place of another. The volume is not touched."""


@runtime_checkable
class Staging(Ability, Protocol):
    """The ability to fill an empty volume all at once, so that nobody sees it half filled.

    `stage` -> the caller writes into the directory it was given -> `publish`, or `unstage`.
    """

    def is_empty(self, name: str) -> bool:
        """False when it certainly holds something, or is not to be filled."""

    def stage(self, name: str, token: str) -> Path:
        """An empty directory on the volume's file system, out of sight. Raises Conflict where the volume is not
        empty or not to be filled, Unsupported where this one cannot be filled so (its content is mounted)."""

    def publish(self, name: str, token: str, in_use: bool) -> None:
        """What was staged becomes the volume's content, its own owner, mode, times and attributes included, durably.
        Unless `in_use`, in one step; otherwise entry by entry, because those who have the directory open would not see
        another put in its place. Raises Conflict, having done nothing, when somebody wrote into the volume meanwhile;
        what a crash cut off goes on when called again; nothing staged is success."""

    def unstage(self, token: str) -> None:
        """Throw away what was staged; gone already is success."""

    def list_staged(self) -> Sequence[str]:
        """Tokens of what was staged and neither published nor thrown away."""


@runtime_checkable
class Filling(Ability, Protocol):
    """The ability to make a volume together with its data, seen by nobody before it is whole. Comes with `unstage` and
    `list_staged` as in Staging.

    `prepare` -> the caller writes into the directory it was given -> `reveal`, or `unstage`.
    """

    def own_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """Those of a volume's options that a copy of it may have too: not the ones that say where its data is."""

    def prepare(self, token: str, options: Mapping[str, str], metadata: str) -> Path:
        """The empty data directory of a new volume without a name, attached. Raises Unsupported where the data would
        not be the volume's own (the options name storage that is there already, or memory)."""

    def reveal(self, token: str, name: str, asked_for: Collection[str] = ()) -> StoredVolume:
        """The volume under its name, in one step and durable, detached. `asked_for` names options that were not taken
        over from elsewhere: what they say of the top directory holds, whatever it was filled with. Raises Conflict when
        the name is taken; nothing prepared, and a volume of that name, is success."""

    def unstage(self, token: str) -> None: ...

    def list_staged(self) -> Sequence[str]: ...


@runtime_checkable
class Adopting(Ability, Protocol):
    """The ability to take over a directory of this host that another engine keeps as a volume, its data in `_data`."""

    def why_not_adoptable(self, source: Path) -> str:
        """Why that directory cannot be taken over without copying; "" when it can."""

    @property
    def limits_adopted(self) -> bool:
        """Whether a directory that is taken over can have a limit."""

    def adopt(self, source: Path, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        """The directory becomes the volume, in one step, durable, no byte copied and nothing replaced. Raises Conflict
        when the name is taken, something is mounted at or below it or its data is no directory, Unsupported where it
        lies on storage that it cannot be moved from; then the other engine still has it. Adopted already is success."""

    def give_back(self, name: str, source: Path) -> None:
        """Undo of `adopt`: the directory lies where it lay. Gone already is success."""


@runtime_checkable
class Usage(Ability, Protocol):
    """The ability to say how much is stored."""

    def usage_bytes(self, name: str) -> int:
        """Sum of apparent sizes of all files, hard links once; -1 when it cannot be told."""

    def measure(self, name: str, stop: Callable[[], bool]) -> Measurement | None:
        """Walk and count, which may take long; None once `stop` says so, and where it cannot be told now."""

    def counted(self, name: str) -> Measurement | None:
        """The same from a counter that the kernel keeps anyway, at once and asking nobody; None where there is none."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What was written to a volume and is not yet where it belongs."""

    files: int = 0
    size_bytes: int = 0
    why: str = ""  # it could not get there yet, or what keeps more from being written


@runtime_checkable
class Uploading(Ability, Protocol):
    """The ability of a volume whose storage is elsewhere to say what has not got there."""

    def pending(self, name: str) -> Pending | None:
        """None when it cannot be told now."""


class HealthState(StrEnum):
    OK = "ok"
    STALE = "stale"  # its mount is dead: whoever has it gets nothing but errors, until it is mounted anew
    HANGING = "hanging"  # its mount gives no answer
    AWAY = "away"  # its mount answers, and the storage does not, or is not the volume's
    UNKNOWN = "unknown"  # it was asked a moment ago, and the answer is not there yet


@dataclass(frozen=True, slots=True)
class Health:
    state: HealthState = HealthState.OK
    why: str = ""


@runtime_checkable
class Watched(Ability, Protocol):
    """The ability to tell how the mount of a volume that is in use is. For volumes whose content is elsewhere."""

    def health(self, name: str) -> Health:
        """Asked every few seconds for each volume: costs next to nothing, waits for nobody. Raises NotFound."""

    def watch_only(self, names: Collection[str]) -> None:
        """Nobody asks for others any more: what was kept to know about them goes."""


@runtime_checkable
class Mending(Ability, Protocol):
    """The ability to mount a volume anew whose mount is dead, while it is in use. A mount of such a volume has a device
    number of its own, by which an old one is told from a new one, wherever it was copied to."""

    def mend(self, name: str, use_ids: Collection[str]) -> Path:
        """These uses, and those that it knows of, go on with the mount that is there when this returns. The dead mount
        is taken off only when another is likely to come. Raises Unavailable, Forbidden, HostFailure; called again."""


@runtime_checkable
class Interrupting(Ability, Protocol):
    """The ability to end what waits for storage that gives no answer, with errors for whoever waits."""

    def interrupt(self, name: str) -> None:
        """What is mounted is dead, as if its program were killed; who attaches or mends next mounts it anew."""


@runtime_checkable
class MountedAnew(Ability, Protocol):
    """The ability to mount a volume anew by the next `attach`, while others still have the dead mount: where what they
    wrote last is lost, and they would go on as if it were not. Only a new start of theirs is told the truth."""

    @property
    def mounts_anew(self) -> bool: ...


@runtime_checkable
class Limited(Ability, Protocol):
    """The ability to keep a volume below a limit."""

    def limits(self, name: str) -> Limits: ...


@runtime_checkable
class Changing(Ability, Protocol):
    """The ability to give a volume other options and another record, its data untouched."""

    def change(self, name: str, options: Mapping[str, str], metadata: str) -> None:
        """Durable in one step: after a crash it is either as before or as wished. A limit holds at once, also while the
        volume is attached; what concerns the mount holds from the next time that nobody had it attached. Raises
        Malformed for options that `create` would refuse, Conflict for what would lose data (a limit below what is
        stored), Unsupported for what cannot be had for this volume any more; then nothing has changed."""


@runtime_checkable
class Renaming(Ability, Protocol):
    """The ability to give a volume another name."""

    def rename(self, name: str, new_name: str, metadata: str) -> StoredVolume:
        """In one step, durable, also while it is attached. Raises Conflict when the new name is taken, NotFound when
        neither name is there. Renamed already (the new name is there with this metadata) is success."""


@runtime_checkable
class ScopeByOptions(Ability, Protocol):
    """The ability to have volumes for one host and volumes for all: its `scope` is that of most."""

    def scope_of(self, options: Mapping[str, str]) -> str:
        """local or global."""


@runtime_checkable
class Shareable(Ability, Protocol):
    """The ability of a driver with volumes of global scope to say how several hosts may use the storage of one."""

    def accesses(self, options: Mapping[str, str]) -> Sequence[str]:
        """Of rwx, rwo and rox (model/cluster.py) what the storage keeps safe; the first is the default. rwo only of
        what is Leashed, too."""

    def options_for(self, options: Mapping[str, str], access: str) -> Mapping[str, str]:
        """As the volume is made on a host that uses it so."""

    def identity(self, name: str) -> str:
        """What its storage is known by, on all hosts; "" as long as nobody has seen it here."""

    def expect(self, name: str, identity: str) -> None:
        """No other storage is attached from now on, whichever was seen here before."""


@runtime_checkable
class Located(Ability, Protocol):
    """The ability to say which storage options mean, so that no two volumes are made of what bears one writer."""

    def storage_of(self, options: Mapping[str, str]) -> str:
        """The same for all options that mean the same, as far as they tell; "" where they do not. Touches nothing."""


@runtime_checkable
class Leashed(Ability, Protocol):
    """The ability to reach storage only for as long as a file says (kernel/leash.py), for access=rwo. `tie`: from the
    next first attach on; what hangs on another leash is ended. Storage that can, refuses who has a smaller `epoch`.
    `cut`: written out, if that takes no longer than `seconds`, then ended, whoever works on it: nothing is written from
    here any more before it is tied anew."""

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None: ...
    def is_reached(self, name: str) -> bool: ...
    def cut(self, name: str, seconds: float) -> None: ...


@runtime_checkable
class Fleeting(Ability, Protocol):
    """Some volumes of this driver are in memory."""

    def vanishes(self, name: str, use_id: str) -> bool:
        """Whether the volume's content is gone when this use, which has it attached, lets go of it."""


ABILITIES = tuple(each for each in list(globals().values()) if getattr(each, "_is_runtime_protocol", 0))


def abilities_of(driver: object) -> list[type]:
    return [ability for ability in ABILITIES if isinstance(driver, ability)]


def scope_of(driver: VolumeDriver, options: Mapping[str, str] | None) -> str:
    """Of a volume with these options."""
    return driver.scope_of(options or {}) if isinstance(driver, ScopeByOptions) else driver.scope
