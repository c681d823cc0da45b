"""Points in time as --since and --until take them."""

import time
from datetime import datetime

from orlop.client.errors import ClientError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_moment(text: str, flag: str) -> str | None:
    """A time, or how long ago (`1h30m`), as seconds since the epoch; None for none. Raises ClientError."""
    if not text:
        return None
    if text.replace(".", "", 1).isdigit():
        return text
    ago = _parse_duration(text)
    if ago is not None:
        return f"{time.time() - ago:.9f}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ClientError(
            f"{flag} {text!r}: use a time such as 2026-01-02T15:04:05, seconds since 1970, or an age such as 10m",
            125,
        ) from None
    return f"{moment.timestamp():.9f}"  # a time without a zone is this host's


def _parse_duration(text: str) -> float | None:
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = rest[digits:]
        length = len(unit) - len(unit.lstrip("abcdefghijklmnopqrstuvwxyzµ"))
        name = unit[:length]
        if name not in _UNITS:
            return None
        try:
            total += float(rest[:digits]) * _UNITS[name]
        except ValueError:
            return None
        rest = unit[length:]
    return total
