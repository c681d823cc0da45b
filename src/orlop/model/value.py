"""`dataclass`, made five times as fast: there are hundreds of them, and making them was the half of every start.

The standard one writes the text of seven methods for each class and has it compiled at once, though most classes are
never shown, compared or even used. Here methods that can be are shared, and `__init__` is compiled when the first
instance is made. What comes out is a data class for everybody: `fields`, `replace` and msgspec take it. What is asked
for seldom (one below another, `__post_init__`) the standard one does.
"""

import dataclasses
from collections.abc import Callable, Sequence
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool = False, eq: bool = True, slots: bool = True) -> Callable[[type], type]:
        """Always with slots."""
        assert slots
        return lambda cls: _made(cls, frozen, eq)


def _made(cls: type, frozen: bool, eq: bool) -> type:
    if hasattr(cls, "__post_init__") or any(map(dataclasses.is_dataclass, cls.__mro__)):
        return dataclasses.dataclass(frozen=frozen, eq=eq, slots=True)(cls)
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # or the standard one looks for the signature, the longest part of its work
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    fields = dataclasses.fields(made)
    assert all(field.init and not field.kw_only for field in fields), f"{cls.__name__}: not known here"
    own = made.__dict__  # what the class says itself holds
    methods: dict[str, object] = {"__init__": _compiled_later(made, fields)}
    if "__repr__" not in own:
        methods["__repr__"] = _repr
    if eq:
        values = _values_of([field.name for field in fields if field.compare])
        if own.get("__hash__") is None:  # which every class has that says what is equal
            methods["__hash__"] = (lambda self: hash(values(self))) if frozen else None
        if "__eq__" not in own:
            methods["__eq__"] = _comparing(values)
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        methods |= {"__getstate__": _values, "__setstate__": _set_values}
        made.__dataclass_params__.frozen = True
    for name, method in methods.items():
        setattr(made, name, method)
    return made  # type: ignore[no-any-return]


def _compiled_later(cls: Any, fields: Sequence["dataclasses.Field[Any]"]) -> Callable[..., None]:
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        compiled = _compile(cls, fields)
        cls.__init__ = compiled
        compiled(self, *values, **named)

    return __init__


def _compile(cls: type, fields: Sequence["dataclasses.Field[Any]"]) -> Callable[..., None]:
    known: dict[str, Any] = {"_absent": dataclasses.MISSING}
    arguments, lines = ["self"], ["pass"]
    for field in fields:
        name, value = field.name, field.name
        known[f"_set_{name}"] = cls.__dict__[name].__set__  # of its slot: frozen is who asks the instance
        if field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            arguments.append(f"{name}=_default_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            arguments.append(f"{name}=_absent")
            value = f"_make_{name}() if {name} is _absent else {name}"
        else:
            arguments.append(name)
        lines.append(f"_set_{name}(self, {value})")
    text = f"def __init__({', '.join(arguments)}):\n " + "\n ".join(lines)
    exec(text, known)  # noqa: S102 - of names of fields, as the standard one does
    compiled: Callable[..., None] = known["__init__"]
    compiled.__qualname__ = f"{cls.__qualname__}.__init__"
    return compiled


def _values_of(names: Sequence[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda instance: ()


def _comparing(values: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:
        if other.__class__ is self.__class__:
            return values(self) == values(other)
        return NotImplemented

    return __eq__


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _values(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_values(self: Any, values: Sequence[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), values, strict=True):
        object.__setattr__(self, field.name, value)
