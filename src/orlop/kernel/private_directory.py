"""A program that sees a directory of ours in the place of the host's.

    private_directory.py PLACE OURS COMMAND...

For programs that look for their files in one place only. In a mount namespace of its own OURS lies on PLACE; nobody
else notices. COMMAND takes this process over. Run as a file and without the rest of Orlop, so that it starts at once.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_BIND, _SLAVE_ALL = 4096, 1 << 19 | 16384


def privately(place: str, ours: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", str(Path(__file__)), place, ours, *argv)


def main() -> None:
    place, ours, *argv = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "unshare")  # the only thread there is
    _check(libc.mount(b"none", b"/", None, _SLAVE_ALL, None), "mount /")
    _check(libc.mount(os.fsencode(ours), os.fsencode(place), None, _BIND, None), f"mount {place}")
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def _check(result: int, call: str) -> None:
    if result < 0:
        sys.exit(f"{call}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
