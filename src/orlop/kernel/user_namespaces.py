"""User namespaces that nobody runs in: all they are for is the table of ids that an id-mapped mount takes from one.

A process with several threads cannot make one for itself, so a child does (`unshare`), waits while its tables are
written from outside, and ends. The descriptor keeps the namespace.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orlop.kernel.polling import readable

Extent = tuple[int, int, int]  # first id on disk, first id as shown, how many

_SECONDS = 10
_COMMAND = ("unshare", "--user", "--", "cat")


def open_user_namespace(uids: Sequence[Extent], gids: Sequence[Extent], command: Sequence[str] = _COMMAND) -> int:
    """A descriptor (close-on-exec) of a namespace with these tables. Raises OSError, also where the program is missing
    or the kernel makes no user namespaces."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    try:
        # What cat sends back says that it runs, and so in a namespace of its own.
        os.write(child.stdin.fileno(), b"?")
        if not readable([child.stdout.fileno()], _SECONDS) or not os.read(child.stdout.fileno(), 1):
            raise OSError(f"no user namespace: {_complaint(child) or 'no answer'}")
        process = Path(f"/proc/{child.pid}")
        (process / "uid_map").write_text(_table(uids))
        (process / "gid_map").write_text(_table(gids))
        return os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.kill()
        child.communicate()


def _complaint(child: subprocess.Popen[bytes]) -> str:
    child.kill()
    return child.communicate()[1].decode(errors="replace").strip()


def _table(extents: Sequence[Extent]) -> str:
    return "".join(f"{first} {shown} {count}\n" for first, shown, count in extents)
