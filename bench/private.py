"""A mount namespace of the bench's own, in which nobody has left anything.

dockerd asks every plugin of the machine whenever a volume is made, and waits some fifteen seconds for each whose socket
is there and whose program is not. So the directories where plugins are looked for are empty here. Mounts that are made
here are gone with the bench, however it ends; and those of others that came along are let go of, for a copy of a mount
keeps its device busy, and whoever takes down a daemon or a test would find the bench among its users.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PLUGIN_PLACES = (Path("/run/docker/plugins"), Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
_OF_OTHERS = ("/tmp/", "/var/tmp/", "/run/")
_MARK = "ORLOP_BENCH_IS_PRIVATE"


def enter_private(arguments: Sequence[str]) -> None:
    """Starts the program anew in a namespace of its own; returns there."""
    if os.environ.get(_MARK) != "1":
        unshare = shutil.which("unshare")
        if unshare is None or os.geteuid() != 0:
            sys.exit("the bench starts daemons and mounts: it needs root, and unshare (util-linux)")
        program = [unshare, "--mount", "--propagation", "slave", sys.executable, "-m", "bench", *arguments]
        os.execve(unshare, program, {**os.environ, _MARK: "1"})
    _let_go_of_others()
    PLUGIN_PLACES[0].mkdir(parents=True, exist_ok=True)
    for place in PLUGIN_PLACES:
        if place.is_dir():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "bench", place], check=True)


def _let_go_of_others() -> None:
    needed = [str(path) for path in (Path.cwd(), Path(__file__).resolve(), Path(sys.prefix).resolve())]
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        place, (fs_type, source, *_) = line.split()[4], line.partition(" - ")[2].split()
        is_theirs = place.startswith(_OF_OTHERS) or fs_type.startswith("fuse") or fs_type == "overlay"
        is_theirs |= source.startswith("/dev/loop")
        if is_theirs and place != "/" and not any(path.startswith(f"{place}/") for path in needed):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
