"""`wait=60s` among a mount's volume options: how long write access that another host has is waited for. It is the
mount's, not the volume's."""

import re
from dataclasses import replace

from orlop.errors import Malformed
from orlop.model.mount import MountRequest

WAIT = "wait"
_UNITS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_SECONDS = 24 * 3600


def split_wait(request: MountRequest) -> tuple[MountRequest, float]:
    """The request without it, and its seconds. Raises Malformed."""
    if WAIT not in request.driver_options:
        return request, 0.0
    options = dict(request.driver_options)
    return replace(request, driver_options=options), parse_wait(options.pop(WAIT))


def parse_wait(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    if not found or int(found[1]) * _UNITS[found[2]] > _LONGEST_SECONDS:
        raise Malformed(f"volume-opt wait={text}", "it is a time of at most a day", "For example wait=60s or wait=5m")
    return float(int(found[1]) * _UNITS[found[2]])
