"""Which leash (kernel/leash.py) the programs of a driver's volumes hang on, where one host at a time may write."""

from pathlib import Path

from orlop.errors import Unavailable
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Tie:
    """Write access that is for a time: the leash that says for how long, and its epoch, which grows with each change of
    hands."""

    leash: Path
    epoch: int = 0


class LeashTies:
    """By the names of volumes. Without a tie a volume is this host's alone, and its program on no leash."""

    def __init__(self) -> None:
        self._ties: dict[str, Tie | None] = {}  # None: it was cut, and is not tied anew

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None:
        self._ties[name] = Tie(leash, epoch)

    def cut(self, name: str) -> None:
        """No program is started before it is tied anew."""
        self._ties[name] = None

    def leash(self, name: str) -> Path | None:
        """For a program that is to start. Raises Unavailable where it was cut."""
        tie = self.tie_of(name)
        return tie.leash if tie else None

    def tie_of(self, name: str) -> Tie | None:
        """As `leash`, all of it."""
        tie = self._ties.get(name)
        if tie is None and name in self._ties:
            raise Unavailable(f"attaching volume {name}", "this host lost its write access", "Try again in a moment")
        return tie
