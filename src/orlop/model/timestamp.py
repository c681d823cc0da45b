"""Times as texts: RFC 3339 in UTC with nanoseconds, as Go writes them; and back."""

import re
from datetime import UTC, datetime

from orlop.errors import Malformed

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def render_timestamp(at_ns: int) -> str:
    """Go leaves out trailing zeros of the fraction, and the fraction when nothing is left."""
    seconds, fraction = divmod(at_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_timestamp(text: str) -> int:
    """Nanoseconds since the epoch. Raises Malformed."""
    found = _RFC3339.fullmatch(text)
    if not found:
        raise Malformed("", f'"{text}" is not a time', "Write it like 2026-01-31T12:00:00Z")
    zone = "+00:00" if found[4] in "Zz" else found[4]
    try:
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
        seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError) as error:
        raise Malformed("", f'"{text}" is not a time: {error}') from error
    return seconds * 1_000_000_000 + int((found[3] or "").ljust(9, "0"))
