"""Filters of listings: key -> wanted values, as `--filter key=value` gives them."""

from collections.abc import Iterable, Mapping

from orlop.errors import Malformed

Filters = Mapping[str, tuple[str, ...]]


def require_known(filters: Filters, known: Iterable[str]) -> None:
    """Raises Malformed for the first key, alphabetically, that the listing does not know."""
    unknown = sorted(set(filters) - set(known))
    if unknown:
        raise Malformed("", f"invalid filter '{unknown[0]}'", f"Known filters: {', '.join(sorted(known))}")


def matches_labels(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """True when each wanted "key" or "key=value" is among the labels."""
    have = labels or {}
    for term in wanted:
        key, separator, value = term.partition("=")
        if key not in have or (separator and have[key] != value):
            return False
    return True


def parse_bool(text: str, name: str) -> bool:
    """Go's strconv.ParseBool, which clients rely on. Raises Malformed naming the filter."""
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if text in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise Malformed("", f"invalid filter '{name}=[{text}]'", "Use true or false")
