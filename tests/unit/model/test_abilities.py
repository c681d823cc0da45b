"""What a driver is able to do is found out once, and rightly, for each class."""

from typing import Protocol, runtime_checkable

from orlop.model.abilities import Ability


@runtime_checkable
class Swimming(Ability, Protocol):
    @property
    def depth(self) -> int: ...

    def swim(self) -> None: ...


class Duck:
    def __init__(self) -> None:
        self.depth = 1

    def swim(self) -> None: ...


class Diver(Duck): ...


class Stone:
    depth = 100


def test_whoever_has_all_members_has_the_ability_however_often_it_is_asked() -> None:
    for _ in range(3):
        assert [isinstance(each, Swimming) for each in (Duck(), Stone(), Diver(), 5)] == [True, False, True, False]


def test_a_driver_may_say_itself_that_it_has_it() -> None:
    class Fish(Swimming):
        @property
        def depth(self) -> int:
            return 3

        def swim(self) -> None: ...

    assert isinstance(Fish(), Swimming)
    assert isinstance(Fish(), Fish)
    assert not isinstance(Duck(), Fish)
