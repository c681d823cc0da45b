"""Secrets: values that options name and nobody is shown.

An option says `secret://name` where the value would stand, as the whole value or within a longer one
(`o=username=me,password=secret://nas`). The name is no secret; the value is put in its place where storage is about to
be asked for, and nowhere else.
"""

import re
from collections.abc import Callable, Mapping

from orlop.errors import Malformed
from orlop.model.value import dataclass

MOST_BYTES = 512 << 10  # as much as Docker's own secrets may hold

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_REFERENCE = re.compile(r"secret://([^\s,;&?@/]*)")


@dataclass(frozen=True, slots=True)
class Secret:
    """What may be said of one."""

    name: str
    created_at_ns: int
    used_by: tuple[str, ...] = ()  # names of volumes


def check_secret_name(name: str) -> str:
    """Raises Malformed."""
    if not _NAME.fullmatch(name):
        why = 'a name has up to 128 letters, digits, "_", "." and "-", and begins with a letter or a digit'
        raise Malformed(f"secret {name!r}", why)
    return name


def is_reference(value: str) -> bool:
    """Whether a value is the name of a secret, and so none itself."""
    return _REFERENCE.fullmatch(value) is not None


def names_of_secrets(options: Mapping[str, str]) -> tuple[str, ...]:
    """Those that options name, each once. Raises Malformed for a name that cannot be one."""
    found = (name for value in options.values() for name in _REFERENCE.findall(value))
    return tuple(check_secret_name(name) for name in dict.fromkeys(found))


def resolve_secrets(options: Mapping[str, str], value_of: Callable[[str], str]) -> dict[str, str]:
    """The options with values for names. `value_of` raises where there is no such secret."""
    return {
        key: _REFERENCE.sub(lambda found: value_of(found[1]), value) if "secret://" in value else value
        for key, value in options.items()
    }
