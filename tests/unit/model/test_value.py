"""The quick `dataclass` makes what the standard one makes."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    secret: str = dataclasses.field(default="", repr=False)
    seen: int = dataclasses.field(default=0, compare=False)

    @property
    def total(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Point3(Point):
    z: int = 3


@dataclass(slots=True)
class Counter:
    """Kept as it is written."""

    count: int = 0


@dataclass(slots=True, eq=False)
class Thing:
    name: str


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@dataclass(frozen=True, slots=True)
class Node:
    children: list[Any]


@dataclass(frozen=True, slots=True)
class Own:
    value: int

    def __repr__(self) -> str:
        return "own"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


def standard(cls: type, **kind: bool) -> Callable[..., Any]:
    """The class as the standard decorator would have made it."""
    spelt = {"__annotations__": cls.__annotations__, "__qualname__": cls.__qualname__, "__module__": cls.__module__}
    for field in dataclasses.fields(cls):
        if field.name in cls.__annotations__:
            arguments = {"repr": field.repr, "compare": field.compare}
            if field.default is not dataclasses.MISSING:
                arguments["default"] = field.default
            if field.default_factory is not dataclasses.MISSING:
                arguments["default_factory"] = field.default_factory
            spelt[field.name] = dataclasses.field(**arguments)
    return dataclasses.dataclass(slots=True, **kind)(type(cls.__name__, (), spelt))


WISHES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, 5, {"a": "b"}, "hush", 9), {}),
    ((), {"x": 1, "seen": 4}),
    ((1,), {"secret": "s"}),
]


@pytest.mark.parametrize(("values", "named"), WISHES)
def test_instances_are_made_and_shown_as_the_standard_ones(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    ours, theirs = Point(*values, **named), standard(Point, frozen=True)(*values, **named)
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, {}, "", 0, 6), {}), ((1,), {"x": 1}), ((1,), {"other": 1})]
)
def test_wrong_arguments_are_refused_in_the_same_words(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    said = []
    for make in (Point, standard(Point, frozen=True)):
        with pytest.raises(TypeError) as refused:
            make(*values, **named)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_each_instance_has_a_default_of_its_own() -> None:
    first, second = Point(1), Point(1)
    first.tags["a"] = "b"
    assert second.tags == {}


def test_equal_are_those_of_one_class_with_equal_fields_that_count() -> None:
    assert Point(1, seen=1) == Point(1, seen=2)
    assert Point(1) != Point(2)
    assert Point(1) != Point3(1)
    assert Point(1) != "Point"
    assert Nothing() == Nothing()
    assert Counter(1) == Counter(1)
    assert Thing("a") != Thing("a")


def test_the_frozen_are_hashed_by_value_and_the_others_not_at_all() -> None:
    assert hash(Node(())) == hash(Node(()))  # type: ignore[arg-type]
    assert len({Nothing(), Nothing()}) == 1
    with pytest.raises(TypeError, match="unhashable type: 'Counter'"):
        hash(Counter())
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(Node([]))
    assert len({Thing("a"), Thing("a")}) == 2


def test_the_frozen_stay_as_they_are() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.other = 2  # type: ignore[attr-defined]
    assert point.x == 1


def test_others_change_and_have_no_room_for_more() -> None:
    counter = Counter()
    counter.count += 1
    assert counter.count == 1
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    assert not hasattr(counter, "__dict__")
    assert Counter.__doc__ == "Kept as it is written."


def test_a_class_below_another_has_the_fields_of_both() -> None:
    point = Point3(1, z=5)
    assert (point.x, point.y, point.z, point.total) == (1, 2, 5, 3)
    assert [field.name for field in dataclasses.fields(Point3)] == ["x", "y", "tags", "secret", "seen", "z"]
    assert isinstance(point, Point)
    assert repr(point) == "Point3(x=1, y=2, tags={}, seen=0, z=5)"


def test_what_the_class_says_itself_holds() -> None:
    assert repr(Own(1)) == "own"
    assert Own(1) == Own(2)
    assert hash(Own(1)) == 7


def test_one_that_holds_itself_can_be_shown() -> None:
    node = Node([])
    node.children.append(node)
    assert repr(node) == "Node(children=[...])"


@pytest.mark.parametrize("value", [Point(1, 2, {"a": "b"}), Point3(1, z=4), Counter(3), Nothing()])
def test_they_are_copied_replaced_and_carried_over(value: Any) -> None:
    assert dataclasses.is_dataclass(value)
    assert dataclasses.replace(value) == value
    assert copy.copy(value) == copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_match_takes_the_fields_in_their_order() -> None:
    match Point(1):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_what_is_to_be_done_after_an_instance_was_made_is_done() -> None:
    seen = []

    @dataclass(frozen=True, slots=True)
    class Asking:
        x: int

        def __post_init__(self) -> None:
            seen.append(self.x)

    assert Asking(1) == Asking(1)
    assert seen == [1, 1]


def test_what_nobody_here_knows_is_noticed_at_once() -> None:
    with pytest.raises(AssertionError, match="Named: not known here"):

        @dataclass(frozen=True, slots=True)
        class Named:
            x: int = dataclasses.field(kw_only=True)
