"""What is done to the containers that use a volume while its storage gives no answer: options that every driver's
volumes have, and no driver is told of.

    on-hang        wait, freeze, kill, fail
    hang-timeout   seconds until `kill` and `fail` are done, 60 when left out

`freeze` is done at once: it takes nothing away.
"""

from collections.abc import Mapping
from enum import StrEnum

from orlop.errors import Malformed
from orlop.model.value import dataclass

ON_HANG, HANG_TIMEOUT = "on-hang", "hang-timeout"
HANG_TIMEOUT_SECONDS = 60
_MOST_SECONDS = 7 * 24 * 3600
_OWN = (ON_HANG, HANG_TIMEOUT)


class OnHang(StrEnum):
    WAIT = "wait"  # whoever touches the storage waits for it, or gets what errors it gives
    FREEZE = "freeze"  # its containers stand still until it is back
    KILL = "kill"  # its containers are killed; their restart policy waits for it
    FAIL = "fail"  # whoever waits for it gets an error


@dataclass(frozen=True, slots=True)
class HangPolicy:
    on_hang: OnHang = OnHang.WAIT
    timeout_seconds: int = HANG_TIMEOUT_SECONDS


def for_driver(options: Mapping[str, str] | None) -> dict[str, str]:
    """The options that are the driver's."""
    return {key: value for key, value in (options or {}).items() if key not in _OWN}


def parse_hang_policy(subject: str, options: Mapping[str, str] | None) -> HangPolicy:
    """Raises Malformed."""
    options = options or {}
    word, seconds = options.get(ON_HANG, OnHang.WAIT), options.get(HANG_TIMEOUT)
    if word not in list(OnHang):
        raise Malformed(subject, f"{ON_HANG} is {word!r}, and can be {', '.join(OnHang)}")
    if seconds is None:
        return HangPolicy(OnHang(word))
    if not (seconds.isascii() and seconds.isdecimal() and int(seconds) <= _MOST_SECONDS):
        raise Malformed(subject, f"{HANG_TIMEOUT} is {seconds!r}, and has to be a number of seconds, at most a week")
    if word not in (OnHang.KILL, OnHang.FAIL):
        raise Malformed(subject, f"{HANG_TIMEOUT} is for {ON_HANG}=kill and {ON_HANG}=fail")
    return HangPolicy(OnHang(word), int(seconds))


def policy_of(options: Mapping[str, str] | None) -> HangPolicy:
    """Of a volume that was checked, or that another version of Orlop made: what is not understood waits."""
    try:
        return parse_hang_policy("", options)
    except Malformed:
        return HangPolicy()
