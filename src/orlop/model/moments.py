"""Points in time as Docker's clients write them: seconds since the epoch, RFC 3339, or how long ago ("1h30m")."""

import re
from datetime import UTC, datetime

from orlop.errors import Malformed

_UNITS_NS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1000,
    "µs": 1000,
    "ns": 1,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|µs|ns|m|s))+")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?))?(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?")


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since the epoch. Raises Malformed naming the text."""
    if re.fullmatch(r"\d+(\.\d{1,9})?", text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
    if _DURATION.fullmatch(text):
        return now_ns - sum(int(float(number) * _UNITS_NS[unit]) for number, unit in _DURATION_PART.findall(text))
    match = _RFC3339.fullmatch(text)
    if match:
        date, clock, fraction, zone = match.groups()
        clock = (clock or "00") + ":00:00"[: 6 - 3 * (clock or "00").count(":")]
        try:
            moment = datetime.fromisoformat(f"{date}T{clock}" + ("+00:00" if zone in (None, "Z") else zone))
        except ValueError:
            moment = None
        if moment is not None:
            return int(moment.astimezone(UTC).timestamp()) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    raise Malformed("", f'failed to parse value as time or duration: "{text}"', 'Use "2026-01-31T12:00:00Z" or "10m"')


def render_moment(at_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds; the zero time of Docker's clients for 0."""
    if at_ns <= 0:
        return "0001-01-01T00:00:00Z"
    seconds, fraction = divmod(at_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"
