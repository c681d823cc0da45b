"""Storage that hangs blocks only those who use it, and them only until a deadline (promise 5)."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.kernel.mounts import MNT_DETACH, bind, mount, unmount
from support.daemon import LiveDaemon, wait_for
from support.storage import Storage, mounted_storage

USERS = 30  # more than the daemon has threads for short calls
AT_ONCE = 8  # seconds; on a busy machine, and still less than any deadline
DEADLINE = 60
WRITING = "while :; do date > /x/now; sleep 0.05; done"


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


@pytest.fixture
def storage(tmp_path: Path, needs_root: None) -> Iterator[Storage]:
    """Storage that takes requests and, when it hangs, answers none: not even SIGKILL ends who waits for it."""
    with storage_with_a_note(tmp_path) as made:
        yield made


@pytest.fixture
def failing_soon(tmp_path: Path, needs_root: None) -> Iterator[Storage]:
    directory = tmp_path / "other"
    directory.mkdir()
    with storage_with_a_note(directory) as made:
        yield made


@contextmanager
def storage_with_a_note(directory: Path) -> Iterator[Storage]:
    with mounted_storage(directory) as made:
        (made.behind / "part").mkdir()
        (made.behind / "part" / "note").write_text("kept")
        yield made


@contextmanager
def mounted_below(storage: Storage, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    bind(storage.place, place)
    try:
        yield
    finally:
        unmount(place, MNT_DETACH)


def others_go_on(daemon: LiveDaemon) -> None:
    for command in (("ps", "-a"), ("volume", "ls"), ("system", "df", "-v"), ("info",)):
        daemon.docker(*command, timeout=AT_ONCE)
    assert daemon.docker("run", "--rm", "-v", "fine:/d", "busybox", "echo", "fine", timeout=AT_ONCE).stdout == "fine\n"
    daemon.docker("volume", "rm", "fine", timeout=AT_ONCE)


def told(daemon: LiveDaemon, *commands: tuple[str, ...]) -> list[str]:
    """What each says that fails; they run at the same time, and others go on meanwhile."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    running = [daemon.spawn(*command, **quiet) for command in commands]
    others_go_on(daemon)
    said = []
    for command, process in zip(commands, running, strict=True):
        _, complaint = process.communicate(timeout=DEADLINE)
        assert process.returncode != 0, f"docker {' '.join(command)} did not fail"
        said.append(complaint.decode())
    return said


def make_bind_volume(daemon: LiveDaemon, storage: Storage) -> None:
    options = ("type=none", f"device={storage.place}/part", "o=bind")
    daemon.docker("volume", "create", *(word for option in options for word in ("-o", option)), "shared")


def test_whoever_uses_storage_that_hangs_ends_at_a_deadline_and_all_goes_on_when_it_heals(
    daemon: LiveDaemon, storage: Storage, failing_soon: Storage, hanging: Path, tmp_path: Path
) -> None:
    """All at once, because each has to wait for its deadline; meanwhile others notice nothing."""
    source = f"{storage.place}:/x"
    make_bind_volume(daemon, storage)
    daemon.docker("run", "-d", "--name", "writer", "-v", source, "busybox", "sh", "-c", WRITING)
    daemon.docker("create", "--name", "later", "-v", source, "busybox", "cat", "/x/part/note")
    daemon.docker("create", "--name", "shares", "-v", "shared:/x", "busybox", "cat", "/x/note")
    daemon.docker("volume", "create", "covered")
    wait_for("the first write", (storage.behind / "now").exists)
    with mounted_below(storage, daemon.volume_data("covered")):
        storage.hang()
        failing_soon.hang(after=4)  # the storage answers the look that comes before, and the runtime gets stuck
        daemon.docker("exec", "writer", "true", timeout=AT_ONCE)
        daemon.docker("export", "-o", tmp_path / "tar", "writer", timeout=AT_ONCE)
        daemon.docker("commit", "--pause=false", "writer", "copy", timeout=AT_ONCE)
        daemon.docker("logs", "writer", timeout=AT_ONCE)
        assert daemon.inspect("container", "writer")["State"]["Status"] == "running"
        stopped, read, started, attached, looked, filled, stuck, *crowd = told(
            daemon,
            ("stop", "-t", "0", "writer"),
            ("cp", "writer:/x/now", str(tmp_path / "down")),
            ("start", "later"),
            ("start", "shares"),
            ("cp", "later:/x/now", "-"),
            ("create", "-v", "covered:/etc", "busybox", "true"),
            ("run", "--name", "stuck", "-v", f"{failing_soon.place}/part:/x", "busybox", "cat", "/x/note"),
            *[("run", "--rm", "-v", f"{hanging}:/x", "busybox", "true")] * USERS,
        )
        assert "did not end within 10 s of SIGKILL" in stopped and str(storage.place) in stopped
        assert "/x/now in container writer: its storage gave no answer" in read
        assert f"bind source {storage.place}: the storage under {storage.place} gave no answer" in started
        assert f"{storage.place}/part" in attached and "no answer" in attached
        assert f"the storage under {storage.place} gave no answer" in looked
        assert "covered" in filled and "gave no answer" in filled
        assert f"bind source {failing_soon.place}/part" in stuck and "gave no answer" in stuck
        for said in crowd:
            assert f"the storage under {hanging} gave no answer" in said
        assert daemon.stop() == 0, "a thread that sleeps there would keep the daemon from ending"
        daemon.start()
        others_go_on(daemon)
        storage.heal()
        failing_soon.heal()
    daemon.docker("rm", "-f", "writer")
    for name in ("later", "shares", "stuck"):
        assert daemon.docker("start", "-a", name).stdout == "kept"
    daemon.docker("rmi", "copy")


def test_storage_that_fails_says_so_and_is_not_taken_for_missing(daemon: LiveDaemon, storage: Storage) -> None:
    make_bind_volume(daemon, storage)
    source = f"{storage.place}/part"
    daemon.docker("create", "--name", "later", "-v", f"{source}:/x", "-v", "shared:/y", "busybox", "cat", "/x/note")
    storage.fail()
    for command in (
        ("run", "--rm", "-v", f"{source}:/x", "busybox", "true"),
        ("run", "--rm", "--mount", f"type=bind,src={source},dst=/x", "busybox", "true"),
        ("run", "--rm", "-v", "shared:/x", "busybox", "true"),
        ("start", "later"),
    ):
        refused = daemon.docker(*command, code=None)
        assert refused.returncode != 0
        assert source in refused.stderr and "input/output error" in refused.stderr.lower()
    others_go_on(daemon)
    storage.heal()
    assert daemon.docker("start", "-a", "later").stdout == "kept"


@pytest.mark.parametrize("below", ["share", ""], ids=["below the data", "on the data"])
def test_storage_that_hangs_in_a_volume_is_not_touched(daemon: LiveDaemon, storage: Storage, below: str) -> None:
    daemon.docker("volume", "create", "data")
    with mounted_below(storage, daemon.volume_data("data") / below):
        storage.hang()
        others_go_on(daemon)
        assert daemon.inspect("volume", "data")["Name"] == "data"
        for force in ((), ("-f",)):
            refused = daemon.docker("volume", "rm", *force, "data", code=1, timeout=AT_ONCE).stderr
            assert "volume has active mounts" in refused
        assert "data" not in daemon.docker("volume", "prune", "-a", "-f", timeout=AT_ONCE).stdout
        daemon.orlop("volume", "ls", "--size", timeout=AT_ONCE)
        storage.heal()
    assert (storage.behind / "part" / "note").read_text() == "kept"
