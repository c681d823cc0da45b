"""Sizes and times for people, in Docker's words."""

from datetime import UTC, datetime

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def render_size(size_bytes: float, digits: int = 3) -> str:
    """1230000 as 1.23MB."""
    value = float(f"{size_bytes:.{digits}g}")  # rounded first, so that 999999 is 1MB
    unit = 0
    while value >= 1000 and unit < len(_SIZE_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.{max(digits, 3)}g}{_SIZE_UNITS[unit]}"


_STEPS = (  # below how many seconds, the length of the unit, its name
    (60, 1, "second"),
    (46 * 60, 60, "minute"),
    (48 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (60 * 86400, 7 * 86400, "week"),
    (730 * 86400, 30 * 86400, "month"),
)


def render_duration(seconds: float) -> str:
    """90 as "About a minute", 7300 as "2 hours"."""
    if seconds < 1:
        return "Less than a second"
    if 60 <= seconds < 120:
        return "About a minute"
    if 46 * 60 <= seconds < 5400:
        return "About an hour"
    for below, length, name in _STEPS:
        if seconds < below:
            count = max(1, round(seconds / length) if name == "hour" else int(seconds // length))
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{int(seconds // (365 * 86400))} years"


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time of the API; None for the zero time and for what is no time."""
    try:
        moment = datetime.fromisoformat(_cut_nanoseconds(text))
    except ValueError:
        return None
    if moment.year <= 1:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def render_time_ns(nanoseconds: int) -> str:
    """In UTC, to the second."""
    return f"{datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def render_ago(moment: datetime | None, now: datetime) -> str:
    return "N/A" if moment is None else f"{render_duration((now - moment).total_seconds())} ago"


def from_seconds(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def now() -> datetime:
    return datetime.now(UTC)


def short_id(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:12]


def _cut_nanoseconds(text: str) -> str:
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
