"""What a volume driver is.

Words. A *volume* is a directory tree that outlives containers. A *mount* is one container's use of it, named by a
use id (64 hex). *Attaching* makes the data reachable at a host path for one use; the last *detach* may let go of it.

Life of a volume: `create` -> `attach`/`detach` for each use -> `remove`. A driver with the ability `Retirement` is
asked to `retire` instead of `remove`; only `purge` of a retired volume destroys bytes.

    create -> attach <-> detach -> retire -> purge -> cleanup
                                     ^  restore

Who calls. The executor. A repeated call with the same wish is a success that changes nothing: creating a volume
that exists with the same options, attaching a use twice, detaching one that is not attached, retiring one that is
retired under the same id. After a restart `list_volumes` alone tells the truth about what exists.

An attached volume may be renamed, and its limit changed; who has it attached keeps it and notices only the limit.

A driver touches nothing outside its own root. It answers with an error when it does not know, never with "absent".

Where it comes from. Built in, or installed as a Python package of its own whose entry point in the group
`orlop.volume_drivers` is called with a DriverContext and gives the driver (docs/writing-a-driver.md).

Errors. Malformed for a bad name or option, NotFound for a volume that certainly does not exist, Conflict for one that
cannot be let go now (something is mounted there), Unavailable when the storage does not answer, HostFailure for the
kernel and the disk.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from orlop.drivers.volumes.asking import Asking as Asking
from orlop.drivers.volumes.asking import Question as Question
from orlop.model.abilities import Ability


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume as its driver sees it."""

    name: str
    mountpoint: str  # "" where there is none until it is attached
    created_at_ns: int
    problem: str = ""  # why it cannot be attached as it is now: "its data directory ... is missing"
    status: Mapping[str, object] = field(default_factory=dict, compare=False)  # what it says of it, for people


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


@dataclass(frozen=True, slots=True)
class DriverContext:
    """All that an installed driver is given. Both directories are there, are its own and are root's alone (0700)."""

    name: str  # of its entry point: its `name` must be the same
    data: Path  # on the data root, survives a reboot: records, and bytes that are kept on this host
    run: Path  # on the exec root, cleared by a reboot: sockets, configurations with passwords, who uses what
    resolve_secrets: Callable[[Mapping[str, str]], Mapping[str, str]]  # options with values for secret://NAME; when
    # they are needed, so that no password is stored. Raises NotFound for a secret that is missing
    log: logging.Logger  # "orlop.volume_drivers.NAME", in the daemon's log


class VolumeDriver(Protocol):
    @property
    def name(self) -> str:
        """As in `docker volume create --driver NAME`."""

    @property
    def scope(self) -> str:
        """local or global."""

    def check(self, name: str, options: Mapping[str, str]) -> None:
        """Raises Malformed when `create` with these could never work. Touches nothing."""

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        """`metadata` is JSON that the driver keeps beside the data where it can, so that a lost journal can be
        rebuilt. An existing volume of that name keeps its data and owner."""

    def discard(self, name: str) -> None:
        """Undo of `create`: remove the volume only if nobody has written to it; otherwise leave it and raise
        Conflict. Gone already is success."""

    def get(self, name: str) -> StoredVolume: ...

    def list_volumes(self) -> Sequence[StoredVolume]: ...

    def attach(self, name: str, use_id: str) -> Path: ...

    def detach(self, name: str, use_id: str) -> None: ...


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


class DriverSource(Protocol):
    """Where drivers come from that are not known before they are wanted. Asks none of them."""

    def find(self, name: str) -> VolumeDriver | None: ...

    def names(self) -> Sequence[str]: ...


class ManagedPlugins(Protocol):
    """Plugins that the engine itself runs, each in a root file system of its own. Asks none of them."""

    def find(self, name: str) -> tuple[str, str] | None:
        """The id and the whole name of the one meant, enabled or not."""

    def names(self) -> Sequence[str]:
        """Whole names of those that are enabled."""

    def socket(self, plugin_id: str) -> Path:
        """Where it listens. Raises Conflict where it is disabled, Unavailable while it is not up."""

    def timeout_seconds(self, plugin_id: str) -> float: ...  # for each call; 0: the usual ones

    def show(self, plugin_id: str, path: str) -> str:
        """Where on the host that path of the plugin's is, for people."""

    def resolve(self, plugin_id: str, path: str) -> str:
        """The same, for using it. Raises HostFailure where the host does not see what the plugin sees."""


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
class Shareable(Ability, Protocol):
    """The ability of a driver of global scope to say how several hosts may use the storage of one volume."""

    def accesses(self, options: Mapping[str, str]) -> Sequence[str]:
        """Of rwx, rwo and rox (model/cluster.py) what the storage keeps safe; the first is the default."""

    def options_for(self, options: Mapping[str, str], access: str) -> Mapping[str, str]:
        """As the volume is made on a host that uses it so."""

    def identity(self, name: str) -> str:
        """What its storage is known by, on all hosts; "" as long as nobody has seen it here."""

    def expect(self, name: str, identity: str) -> None:
        """No other storage is attached from now on, whichever was seen here before."""


@runtime_checkable
class Leashed(Ability, Protocol):
    """The ability to reach storage only for as long as a file says (kernel/leash.py), for access=rwo. `tie`: from the
    next first attach on; what hangs on another leash is ended. `cut`: written out, if that takes no longer than
    `seconds`, then ended, whoever works on it: nothing is written from here any more before it is tied anew."""

    def tie(self, name: str, leash: Path) -> None: ...
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


def members_of(contract: type) -> list[str]:
    """What a driver that keeps it has to have."""
    return [name for name in vars(contract) if not name.startswith("_")]


def why_no_driver(made: object, name: str = "") -> str:
    """Why what an entry point gave is no driver of that name ("": of any); "" when it is."""
    kind, wanted = type(made).__name__, members_of(VolumeDriver)
    if missing := [member for member in wanted if not hasattr(made, member)]:
        return f"{kind} has no {', '.join(missing)}: every volume driver has {', '.join(wanted)}"
    own, scope = getattr(made, "name", ""), getattr(made, "scope", "")
    if not isinstance(own, str) or not own or (name and own != name):
        return f"{kind} says that its name is {own!r}, and the entry point's is {name!r}: they have to be the same"
    return "" if scope in ("local", "global") else f"{kind} says that its scope is {scope!r}: it is local or global"
