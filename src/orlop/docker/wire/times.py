"""Times as Docker writes and reads them."""

import datetime
import functools
import re
import time

from orlop.errors import Malformed
from orlop.model.timestamp import render_timestamp

NEVER = "0001-01-01T00:00:00Z"
LATEST_NS = 253_402_300_799 * 1_000_000_000


def render_time(at_ns: int) -> str:
    """RFC 3339 with as many decimals as the time has; the year 1 stands for "never"."""
    return render_timestamp(at_ns) if at_ns else NEVER


def render_seconds(at_ns: int) -> str:
    """RFC 3339 in whole seconds with the host's offset, as volumes show it."""
    if not at_ns:
        return NEVER
    return _render_local(at_ns // 1_000_000_000)


@functools.lru_cache(maxsize=20_000)  # in a list of volumes this took nine tenths of the time
def _render_local(seconds: int) -> str:
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return local.isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> int:
    """Nanoseconds from what clients send for since and until: Unix seconds with or without decimals, RFC 3339, or a
    duration before now ("10m"). "" is 0. Times before 1970 and after 9999 are brought in between. Raises Malformed."""
    return min(max(_parse_moment(text), 0), LATEST_NS) if text else 0


def _parse_moment(text: str) -> int:
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit():
            whole, _, decimals = text.partition(".")
            return int(whole or 0) * 1_000_000_000 + int(decimals[:9].ljust(9, "0") or 0)
        if text[0].isdigit() and "T" not in text and "-" not in text:
            return time.time_ns() - parse_duration(text)
        stamp = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        if stamp.tzinfo is None:
            stamp = stamp.astimezone()
        return int(stamp.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError) as error:
        raise Malformed("", f"failed to parse value as time or duration: {text!r}") from error


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(f"({_PART.pattern})+")


def parse_duration(text: str) -> int:
    """Nanoseconds of "1h30m", "1.5s". Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
