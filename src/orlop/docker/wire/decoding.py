"""JSON from clients, read as Docker's own decoder reads it.

Field names match whatever their case, unknown ones are ignored, `null` means "not given", and one value is one
request: anything after it is refused. msgspec does the typed part; the renaming is compiled once a type.
"""

import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from orlop.errors import Malformed

T = TypeVar("T")

_Fix = Callable[[Any], Any]


def decode_json(raw: bytes, kind: type[T]) -> T:
    """Raises Malformed with Docker's texts."""
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        if "trailing characters" in str(error):
            raise Malformed("", "unexpected content after JSON") from error
        raise Malformed("", f"invalid JSON: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise Malformed("", f"invalid JSON: {error}") from error
    if found is None:
        return kind()
    try:
        return msgspec.convert(_fixer(kind)(found), kind)  # type: ignore[arg-type]
    except msgspec.ValidationError as error:
        raise Malformed("", f"invalid JSON: {error}") from error


def _unchanged(value: Any) -> Any:
    return value


@functools.cache
def _fixer(kind: Any) -> _Fix:
    """What to do to a decoded value before msgspec converts it to `kind`."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        others = [_fixer(argument) for argument in arguments if argument is not types.NoneType]
        useful = [fix for fix in others if fix is not _unchanged]
        return useful[0] if len(useful) == 1 else _unchanged
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_fixer(kind)
    if origin is list:
        return _list_fixer(_fixer(arguments[0]), arguments[0])
    if origin in (dict, Mapping):
        return _map_fixer(_fixer(arguments[1]), arguments[1])
    return _unchanged


def _struct_fixer(kind: type[msgspec.Struct]) -> _Fix:
    hints = typing.get_type_hints(kind)
    names: dict[str, str] = {}
    fixes: dict[str, _Fix] = {}
    for attribute, wire_name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        names[wire_name.lower()] = wire_name
        # Looked up late: a type may contain itself.
        fixes[wire_name] = functools.partial(_fix_lazily, hints[attribute])

    def fix(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fixed: dict[str, Any] = {}
        for key, item in value.items():
            name = key if key in fixes else names.get(key.lower(), "")
            if name and item is not None:
                fixed[name] = fixes[name](item)
        return fixed

    return fix


def _fix_lazily(kind: Any, value: Any) -> Any:
    return _fixer(kind)(value)


def _list_fixer(fix_item: _Fix, item_kind: Any) -> _Fix:
    empty = _zero(item_kind)

    def fix(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [empty if item is None else fix_item(item) for item in value]

    return fix


def _map_fixer(fix_item: _Fix, item_kind: Any) -> _Fix:
    empty = _zero(item_kind)

    def fix(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: empty if item is None else fix_item(item) for key, item in value.items()}

    return fix


def _zero(kind: Any) -> Any:
    """What `null` stands for inside a list or map of `kind`."""
    if kind is str:
        return ""
    if kind is int:
        return 0
    if kind is bool:
        return False
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {}
    return None
