"""What somebody mounted in a volume is not Docker's to clean, and a link in its place leads nowhere.

The ways of removing a volume are all tried: each refuses, or takes what is its own and nothing else.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import DaemonMaker
from orlop.kernel.mounts import MNT_DETACH, bind, unmount
from support.asking import ask
from support.daemon import LiveDaemon, orlop_command, wait_for
from support.swapping import swapping


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """The user's share, which must be whole at the end."""
    share = tmp_path / "share"
    (share / "sub").mkdir(parents=True)
    for name in ("note", "sub/note"):
        (share / name).write_text("kept")
    yield share
    assert sorted(str(path.relative_to(share)) for path in share.rglob("*")) == ["note", "sub", "sub/note"]
    assert (share / "sub" / "note").read_text() == "kept"


@pytest.fixture(params=["on the data", "below the data", "stacked"])
def mounted(request: pytest.FixtureRequest, daemon: LiveDaemon, precious: Path) -> Iterator[str]:
    """A volume with the share mounted in it; its name."""
    name = daemon.docker("volume", "create").stdout.strip()
    data = daemon.volume_data(name)
    (data / "mine").touch()
    place = data
    if request.param == "below the data":
        place = data / "deep" / "er"
        place.mkdir(parents=True)
    times = 2 if request.param == "stacked" else 1
    for _ in range(times):
        bind(precious, place)
    yield name
    for _ in range(times):
        unmount(place, MNT_DETACH)
    assert (data / "mine").exists(), "what was refused has deleted nothing"


def retired_folder(daemon: LiveDaemon, name: str) -> Path:
    """Of the volume of that name that was removed last."""
    retired = json.loads(ask(daemon, "GET /orlop/v1/volumes/retired")[2])["Retired"]
    found = max((each["RetiredAt"], each["ID"]) for each in retired if each["Name"] == name)
    return daemon.data_root / "volumes" / ".retired" / str(found[1])


def test_removing_by_name_is_refused_with_the_way_out(daemon: LiveDaemon, mounted: str) -> None:
    for force in ((), ("-f",)):
        refused = daemon.docker("volume", "rm", *force, mounted, code=1).stderr
        assert f"remove {mounted}: volume has active mounts" in refused
        assert "umount " in refused
    assert daemon.docker("volume", "ls", "-q").stdout.split() == [mounted]


def test_prune_goes_on_with_the_others(daemon: LiveDaemon, mounted: str) -> None:
    other = daemon.docker("volume", "create").stdout.strip()
    assert daemon.docker("volume", "prune", "-f").stdout.split()[2:3] == [other]
    assert daemon.docker("volume", "ls", "-q").stdout.split() == [mounted]


@pytest.mark.parametrize("how", ["rm -v", "--rm"])
def test_going_with_its_container_it_stays(daemon: LiveDaemon, precious: Path, how: str) -> None:
    rm = ["--rm"] if how == "--rm" else []
    daemon.docker("run", "-d", *rm, "--name", "app", "-v", "/x", "busybox", "sleep", "1000")
    volume = daemon.inspect("container", "app")["Mounts"][0]["Name"]
    place = daemon.volume_data(volume) / "share"
    place.mkdir()
    bind(precious, place)
    try:
        daemon.docker("rm", "-f", *(["-v"] if how == "rm -v" else []), "app")
        wait_for("the container to go", lambda: not daemon.docker("ps", "-aq").stdout)
        assert daemon.docker("volume", "ls", "-q").stdout.split() == [volume]
    finally:
        unmount(place)


def test_a_removed_volume_in_which_something_is_mounted_is_not_purged(daemon: LiveDaemon, precious: Path) -> None:
    daemon.docker("volume", "create", "data")
    (daemon.volume_data("data") / "share").mkdir()
    daemon.docker("volume", "rm", "data")
    retired = retired_folder(daemon, "data")
    bind(precious, retired / "_data" / "share")
    try:
        refused = daemon.orlop("volume", "purge", "--force", "data", code=None)
        assert refused.returncode != 0 and "volume has active mounts" in refused.stderr
        daemon.orlop("volume", "restore", "data")
        assert (daemon.volume_data("data") / "share" / "note").read_text() == "kept"
    finally:
        unmount(daemon.volume_data("data") / "share")
    daemon.docker("volume", "rm", "data")
    daemon.orlop("volume", "purge", "--force", "data")


def test_the_reaper_leaves_what_is_mounted_and_goes_on(make_daemon: DaemonMaker, precious: Path) -> None:
    """Without a grace the bytes go at once: those of the volume, and not those of the share."""
    daemon = make_daemon(arguments=["--volume-grace", "0"], image=False)
    for name in ("data", "other"):
        daemon.docker("volume", "create", name)
        (daemon.volume_data(name) / "share").mkdir()
    place = daemon.volume_data("data") / "share"
    bind(precious, place)
    try:
        daemon.docker("volume", "rm", "data", code=1)
        daemon.docker("volume", "rm", "other")
        wait_for("the other's bytes to go", lambda: not any((daemon.data_root / "volumes/.purging").iterdir()))
        assert not any((daemon.data_root / "volumes/.retired").iterdir())
        assert place.exists()
    finally:
        unmount(place)


def test_a_mount_in_another_namespace_is_not_emptied(daemon: LiveDaemon, precious: Path) -> None:
    """Our mount table does not show it, and the kernel lets the directory under it go; what is mounted stays whole."""
    daemon.docker("volume", "create", "data")
    place = daemon.volume_data("data") / "share"
    place.mkdir()
    script = f"mount --bind {precious} {place} && echo mounted && exec sleep 1000"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"mounted\n"
        assert Path(f"/proc/{holder.pid}/root{place}/note").read_text() == "kept"
        removed = daemon.docker("volume", "rm", "data", code=None)
        if removed.returncode == 0:
            daemon.orlop("volume", "purge", "--force", "data", code=None)
        holder.kill()


def test_a_volume_mounted_in_another_volume_loses_nothing(daemon: LiveDaemon) -> None:
    for name in ("inner", "outer"):
        daemon.docker("volume", "create", name)
    (daemon.volume_data("inner") / "note").write_text("kept")
    place = daemon.volume_data("outer") / "inner"
    place.mkdir()
    bind(daemon.volume_data("inner"), place)
    try:
        assert "active mounts" in daemon.docker("volume", "rm", "outer", code=1).stderr
    finally:
        unmount(place)
    daemon.docker("volume", "rm", "outer")
    daemon.orlop("volume", "purge", "--force", "outer")
    assert (daemon.volume_data("inner") / "note").read_text() == "kept"


def test_what_is_mounted_while_bytes_are_deleted_is_not_entered(daemon: LiveDaemon, precious: Path) -> None:
    daemon.docker("volume", "create", "data")
    data = daemon.volume_data("data")
    for number in range(1500):
        (data / f"d{number}").mkdir()
    for number in range(0, 1500, 100):
        (data / f"d{number}" / "file").touch()
    daemon.docker("volume", "rm", "data")
    retired = retired_folder(daemon, "data")
    purging = daemon.data_root / "volumes/.purging" / retired.name / "_data"
    purge = subprocess.Popen(
        [*orlop_command(), "volume", "purge", "--force", "data"],
        env=daemon.orlop_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made: list[Path] = []
    with purge:
        while purge.poll() is None:
            for number in range(1499, 0, -7):
                with suppress(OSError):
                    bind(precious, purging / f"d{number}")
                    made.append(purging / f"d{number}")
                    break
    for place in made:
        with suppress(OSError):
            unmount(place, MNT_DETACH)


def test_a_container_never_gets_what_a_link_in_place_of_the_data_shows(daemon: LiveDaemon, precious: Path) -> None:
    """Only root can put it there, and does so, between our look and the runtime's mount."""
    daemon.docker("volume", "create", "data")
    data = daemon.volume_data("data")
    (data / "mine").touch()
    seen = set()
    with swapping(data, precious) as swapper:
        tries = 0
        while tries < 25 or (not seen and tries < 200):
            tries += 1
            done = daemon.docker("run", "--rm", "--network", "none", "-v", "data:/x", "busybox", "ls", "/x", code=None)
            if done.returncode == 0:
                seen.add(done.stdout)
        assert swapper.swaps > 100
    assert seen == {"mine\n"}
    assert os.listdir(data) == ["mine"]
