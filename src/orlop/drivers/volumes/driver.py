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

What else a driver can do are abilities, each a Protocol of its own (abilities.py).

An attached volume may be renamed, and its limit changed; who has it attached keeps it and notices only the limit.

A driver touches nothing outside its own root. It answers with an error when it does not know, never with "absent".

Where it comes from. Built in, or installed as a Python package of its own whose entry point in the group
`orlop.volume_drivers` is called with a DriverContext and gives the driver (docs/writing-a-driver.md).

Errors. Malformed for a bad name or option, NotFound for a volume that certainly does not exist, Conflict for one that
cannot be let go now (something is mounted there), Unavailable when the storage does not answer, HostFailure for the
kernel and the disk.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume as its driver sees it."""

    name: str
    mountpoint: str  # "" where there is none until it is attached
    created_at_ns: int
    problem: str = ""  # why it cannot be attached as it is now: "its data directory ... is missing"
    status: Mapping[str, object] = field(default_factory=dict, compare=False)  # what it says of it, for people


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
