"""What the kernel's initiator has, and what is on a device that nobody has mounted."""

import subprocess
import time
from pathlib import Path


def sessions() -> list[str]:
    return [path.name for path in Path("/sys/class/iscsi_session").iterdir()]


def connected_nbd() -> list[str]:
    return [path.parent.name for path in Path("/sys/block").glob("nbd*/pid")]


def names_in(image: Path) -> set[str]:
    """At the top of an ext4 that nobody has mounted, its journal replayed."""
    assert subprocess.run(["e2fsck", "-p", str(image)], capture_output=True, check=False).returncode in (0, 1)
    said = subprocess.run(["debugfs", "-R", "ls -p /", str(image)], capture_output=True, text=True, check=True).stdout
    return {line.split("/")[5] for line in said.splitlines() if line.startswith("/")}


def leash(place: Path, name: str, seconds: float = 100) -> Path:
    path = place / name
    path.write_text(str(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * 1e9)))
    return path
