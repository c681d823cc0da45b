"""Part of the contract of volume drivers (driver.py): being asked without being waited for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from orlop.model.abilities import Ability

if TYPE_CHECKING:
    from orlop.drivers.volumes.driver import StoredVolume

T_co = TypeVar("T_co", covariant=True)


class Question(Protocol[T_co]):
    """Something that was asked and that nobody waits for with a thread of his own: `look` whenever `fileno` can be
    read and once `seconds` are over, until it says that there is an end, and then `answer`, once."""

    @property
    def seconds(self) -> float:
        """Until its deadline."""

    def fileno(self) -> int: ...

    def look(self) -> bool:
        """Whether there is an answer, or will be none. Never blocks."""

    def answer(self) -> T_co | None:
        """Raises what the call that waits raises. None where that one is to be made: this one never arrived."""


@runtime_checkable
class Asking(Ability, Protocol):
    """The ability to be asked without being waited for. None where that cannot be now: then the call that waits is
    made, which also finds out why."""

    def ask(self, name: str) -> "Question[StoredVolume] | None":
        """As `get`."""

    def ask_all(self) -> "Question[Sequence[StoredVolume]] | None":
        """As `list_volumes`."""
