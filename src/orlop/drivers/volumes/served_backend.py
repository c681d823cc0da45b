"""What says which options a served volume has, and which program mounts it: one for each kind of storage."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from orlop.drivers.volumes.abilities import Health, Pending
from orlop.drivers.volumes.mount_program import Command, MountProgram
from orlop.kernel.mounts import MountEntry
from orlop.model.value import dataclass

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Served:
    """What a backend works with."""

    name: str
    options: Options  # secrets resolved
    given: Options  # the same as they were given: secrets by name
    mountpoint: Path
    place: Path  # of the program; gone after a reboot
    cache: Path  # on the disk of the volumes; stays until the volume is purged
    identity: Path  # a file beside the data, for the backend to know the storage again


class Backend(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> str: ...

    def check(self, subject: str, options: Options) -> None:
        """Raises Malformed for options that could never work, before anything is asked of the storage. Secrets are
        resolved, so a message never says a value."""

    def command(self, served: Served) -> Command:
        """The program that mounts on `served.mountpoint`. Raises Unsupported where it is not installed."""

    def is_own(self, entry: MountEntry) -> bool:
        """Whether a mount is of this backend's kind."""

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        """Nobody uses it any more: what was written and is not yet where it belongs goes there now. Raises Unavailable
        where that cannot be in good time; then it stays mounted, goes on by itself, and is asked again."""

    def pending(self, place: Path, cache: Path) -> Pending | None:
        """What was written and is not yet where it belongs, whether or not the program runs."""


@runtime_checkable
class WritingThrough(Protocol):
    """The ability of a backend to have nothing of what was synced in its program alone: where that is killed and
    another host writes, nothing older comes after."""

    writes_through: bool


@runtime_checkable
class Showing(Protocol):
    """The ability of a backend to say what its program shows to everybody on this host."""

    shown: Collection[str]  # options that become arguments


@runtime_checkable
class Following(Protocol):
    """The ability of a backend to follow what becomes of its program."""

    def is_ready(self, served: Served) -> bool:
        """Whether what is mounted may be used."""

    def mounted(self, served: Served) -> None:
        """It has just mounted."""

    def ended(self, served: Served) -> None:
        """It is not there any more, or never came to mount. May be told twice."""


@runtime_checkable
class Asking(Protocol):
    """The ability of a backend to ask the storage behind a mount that is there."""

    def ask(self, place: Path, identity: Path) -> Health:
        """Of the program in that place. Asked by a thread that may wait some ten seconds."""
