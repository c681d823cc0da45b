"""Storage that hangs blocks only those who use it, and them only until a deadline (promise 5)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel.mounts import MNT_DETACH, mount, unmount
from support.daemon import LiveDaemon

USERS = 12


@pytest.fixture
def hanging(tmp_path: Path, needs_root: None) -> Iterator[Path]:
    """A FUSE file system whose server never answers: whoever looks at it sleeps in the kernel."""
    place = tmp_path / "hanging"
    place.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR)
    mount("hanging", place, "fuse", 0, f"fd={server},rootmode=40000,user_id=0,group_id=0")
    try:
        yield place
    finally:
        os.close(server)  # everybody who still sleeps wakes with an error
        unmount(place, MNT_DETACH)


def test_a_bind_source_that_hangs_holds_up_its_users_only(daemon: LiveDaemon, hanging: Path) -> None:
    users = [
        daemon.spawn("run", "--rm", "-v", f"{hanging}:/x", "busybox", "true", stderr=subprocess.PIPE)
        for _ in range(USERS)
    ]
    assert daemon.docker("run", "--rm", "busybox", "echo", "fine", timeout=8).stdout == "fine\n"
    daemon.docker("ps", "-a", timeout=8)
    daemon.docker("volume", "ls", timeout=8)
    for user in users:
        _, complaint = user.communicate(timeout=40)
        assert user.returncode == 125
        assert f"bind source {hanging}: its storage gave no answer".encode() in complaint
    assert daemon.docker("ps", "-aq").stdout == "", "nothing of them is left"
