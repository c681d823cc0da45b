"""Which leash (kernel/leash.py) the programs of a driver's volumes hang on, where one host at a time may write."""

from pathlib import Path

from orlop.errors import Unavailable


class LeashTies:
    """By the names of volumes. Without a tie a volume is this host's alone, and its program on no leash."""

    def __init__(self) -> None:
        self._ties: dict[str, Path | None] = {}  # None: it was cut, and is not tied anew

    def tie(self, name: str, leash: Path) -> None:
        self._ties[name] = leash

    def cut(self, name: str) -> None:
        """No program is started before it is tied anew."""
        self._ties[name] = None

    def leash(self, name: str) -> Path | None:
        """For a program that is to start. Raises Unavailable where it was cut."""
        leash = self._ties.get(name)
        if leash is None and name in self._ties:
            raise Unavailable(f"attaching volume {name}", "this host lost its write access", "Try again in a moment")
        return leash
