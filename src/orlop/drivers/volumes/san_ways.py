"""The ways to a device of the SAN, and which of them a volume takes.

    kernel      iSCSI by the kernel's initiator (san_session), NBD by its client (san_nbd)
    userspace   a program that shows the device as a file, and a loop device (san_chain)

A volume that is attached stays with the way that it was attached by. `auto` is the kernel's where this host has it, and
the device allows what is needed of it; otherwise the other.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from orlop.drivers.volumes import open_iscsi, san_nbd
from orlop.drivers.volumes.leash_ties import Tie
from orlop.drivers.volumes.open_iscsi import why_not_for
from orlop.drivers.volumes.san_chain import Growth, SanChain
from orlop.drivers.volumes.san_nbd import SanNbd
from orlop.drivers.volumes.san_options import NbdDevice, SanOptions, Via
from orlop.drivers.volumes.san_session import SanSession
from orlop.errors import Unsupported

_PLACES = ("programs", "disks", "sessions", "nbd")


class Chain(Protocol):
    """From a device of the SAN to a block device of this host. Of one volume; the caller sees to it that nobody else
    works on it at the same time."""

    @property
    def is_alive(self) -> bool:
        """Whether the block device is there, on the leash that this was made with."""

    @property
    def is_reached(self) -> bool:
        """Whether anything may still be written to the device from here."""

    @property
    def health_path(self) -> str:
        """What answers when the device does."""

    @property
    def why_dead(self) -> str: ...

    @property
    def passes_discards(self) -> bool: ...

    def start(self, subject: str, options: SanOptions) -> None:
        """Raises Unavailable where the device cannot be reached, HostFailure where it is refused, Unsupported where
        this way does not lead there."""

    def device(self, subject: str, read_only: bool) -> AbstractContextManager[tuple[int, str]]:
        """The block device, open, and its path. It stays where it got mounted. Raises TimeoutError."""

    def growth(self, subject: str) -> Growth | None:
        """Where the device has grown."""

    def end(self) -> bool:
        """Nobody has it mounted any more. False where somebody does after all, in a mount namespace of their own: then
        it goes on. Raises Unavailable where it cannot be ended yet."""

    def clear(self) -> None:
        """At once, whatever is above it: that gets errors from here on."""

    def tend(self) -> None:
        """Its device may give no answer: whatever is needed for it to come back is there. Waits for nobody."""

    def kill(self) -> None:
        """As `clear`, and nobody waits for it."""

    def cut(self) -> None:
        """Nothing is written from here when this returns. Raises HostFailure."""


def present_chain(run: Path, san_id: str, tie: Tie | None = None) -> Chain:
    """The one that the volume is attached by."""
    if (run / "sessions" / san_id).exists():
        return SanSession(run, san_id, tie)
    if (run / "nbd" / san_id).exists():
        return SanNbd(run, san_id, tie.leash if tie else None)
    return SanChain(run, san_id, tie.leash if tie else None)


def chains_for(run: Path, san_id: str, tie: Tie | None, subject: str, options: SanOptions) -> Iterator[Chain]:
    """To be tried in this order. Raises Unsupported."""
    if options.via is not Via.USERSPACE:
        why = why_not(options)
        if not why and isinstance(options.device, NbdDevice):
            yield SanNbd(run, san_id, tie.leash if tie else None)
        elif not why:
            yield SanSession(run, san_id, tie)
        elif options.via is Via.KERNEL:
            raise Unsupported(subject, f"via=kernel: {why}", "Mend that, or let it choose: via=auto")
    if options.via is not Via.KERNEL:
        yield SanChain(run, san_id, tie.leash if tie else None)


def why_not(options: SanOptions) -> str:
    """Why the kernel's way does not lead to that device; "" when it does."""
    if isinstance(options.device, NbdDevice):
        return san_nbd.why_not_here()
    return why_not_for(options.device) or open_iscsi.why_not_here()


def is_writing(run: Path, san_id: str) -> bool:
    """Whether anything may still be written by that volume."""
    return present_chain(run, san_id).is_reached


def places(run: Path) -> set[str]:
    """Ids of all that left something."""
    folders = (run / name for name in _PLACES)
    return {place.name for folder in folders if folder.exists() for place in folder.iterdir()}
