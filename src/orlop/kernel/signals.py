"""Signal names and numbers as Docker's clients write them: KILL, SIGKILL, sigkill, 9, RTMIN+3."""

import signal

from orlop.errors import Malformed

_RTMIN = 34  # the C library keeps 32 and 33 for itself; every client counts from 34
_RTMAX = 64


def parse_signal(text: str) -> int:
    """Raises Malformed with Docker's text for anything that is no signal."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isdigit():
        number = int(name)
        if 0 < number <= _RTMAX:
            return number
    elif name.startswith(("RTMIN", "RTMAX")):
        base = _RTMIN if name.startswith("RTMIN") else _RTMAX
        offset = name[5:] or "+0"
        if offset[0] in "+-" and offset[1:].isdigit():
            number = base + int(offset)
            if _RTMIN <= number <= _RTMAX:
                return number
    elif f"SIG{name}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{name}"])
    raise Malformed("", f"Invalid signal: {text}", "")


def signal_name(number: int) -> str:
    """For events and messages: SIGTERM, or the number of a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
