"""The small grammars of flags: KEY=VALUE, sizes, files of variables."""

import os
from collections.abc import Iterable, Mapping

from orlop.client.errors import ClientError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse_pairs(terms: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE; a bare KEY has an empty value; the last of a key wins."""
    pairs: dict[str, str] = {}
    for term in terms:
        key, _, value = term.partition("=")
        if not key:
            raise ClientError(f"{term!r}: use KEY=VALUE", 125)
        pairs[key] = value
    return pairs


def parse_bytes(text: str, flag: str) -> int:
    """512m, 1.5g, 4096: binary units, as Docker reads them; -1 stays. Raises ClientError naming the flag."""
    word = text.strip().lower()
    if word == "-1":
        return -1
    number = word.removesuffix("ib") if word.endswith("ib") else word.removesuffix("b")
    unit = number[-1:] if number[-1:] in _UNITS and number[-1:] else ""
    try:
        value = float(number.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        raise _invalid_size(text, flag) from None
    if value < 0 or value != value or value > 1 << 63:
        raise _invalid_size(text, flag)
    return int(value)


def _invalid_size(text: str, flag: str) -> ClientError:
    return ClientError(f"invalid size {text!r} for {flag}: use a number with b, k, m or g, such as 512m", 125)


def read_pairs_file(path: str, flag: str) -> list[str]:
    """The lines of an --env-file or --label-file: comments and blank lines left out."""
    from pathlib import Path

    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ClientError(f"{flag} {path}: {reason}", 125) from error
    found = []
    for line in lines:
        line = line.lstrip()
        if line and not line.startswith("#"):
            name = line.partition("=")[0]
            if not name or any(letter.isspace() for letter in name):
                raise ClientError(f"{flag} {path}: {line!r} has no name, or white space in it", 125)
            found.append(line)
    return found


def resolve_variables(terms: Iterable[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """NAME=value as it is; a bare NAME with this process's value, left out where it has none."""
    resolved = []
    for term in terms:
        name, separator, _ = term.partition("=")
        if not name:
            raise ClientError(f"invalid environment variable: {term!r}", 125)
        if separator:
            resolved.append(term)
        elif name in environment:
            resolved.append(f"{name}={environment[name]}")
    return resolved
