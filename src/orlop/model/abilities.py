"""Abilities of drivers: protocols beyond the contract, asked for by `isinstance`.

A runtime protocol looks at every member of an object each time it is asked, which takes 3 to 10 microseconds; a call of
the API asks a dozen times. What a class is able to do does not change, so it is found out once for each class.
"""

from abc import ABCMeta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    _ProtocolType = ABCMeta
else:
    _ProtocolType = type(Protocol)


_KNOWN: dict[tuple[type, type], bool] = {}  # not in the protocols themselves: all that is in them is part of them


class _AbilityType(_ProtocolType):
    def __instancecheck__(cls, instance: object) -> bool:
        asked = cls, type(instance)
        answer = _KNOWN.get(asked)
        if answer is None:
            answer = _KNOWN[asked] = super().__instancecheck__(instance)
        return answer


class Ability(Protocol, metaclass=_AbilityType):
    """Base of every protocol that says what some drivers can do and others cannot."""
