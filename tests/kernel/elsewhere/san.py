"""SAN volumes by the kernel's own initiator, which this machine's kernel lacks: test_elsewhere.py has another one run
these. The target is that kernel's own as well: it knows persistent reservations."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import HealthState
from orlop.drivers.volumes.open_iscsi import is_listening
from orlop.drivers.volumes.san import SanVolumes
from orlop.errors import Conflict, HostFailure, Unsupported
from orlop.kernel.mounts import bind, unmount
from orlop.testing.volume_fixtures import RECORD, new_id
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, nbd_server
from support.lio_target import PORTAL, LioTarget
from support.san_sessions import leash, names_in, sessions

LUNS = iter(range(1, 100))
EXISTS = 15  # how iscsiadm ends where it is logged in already


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LioTarget:
    return LioTarget(tmp_path_factory.mktemp("lio"))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[SanVolumes]]:
    made = [SanVolumes(tmp_path / name / "volumes", tmp_path / name / "run") for name in ("first", "second")]
    yield made
    for host in made:
        host.detach_others(())
    wait_for("every session to be gone", lambda: not sessions(), 40)
    for host in made:
        host.close()


@pytest.fixture
def host(hosts: list[SanVolumes]) -> SanVolumes:
    return hosts[0]


def disk(data: Path) -> str:
    return next(
        line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == str(data)
    )


def write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def fails_to_write(path: Path) -> bool:
    try:
        write(path, "late")
    except OSError:
        return True
    return False


def session_of(data: Path) -> str:
    parts = (Path("/sys/block") / Path(disk(data)).name).resolve().parts
    return next(part for part in parts if part.startswith("session"))


def iscsiadm(*words: str) -> int:
    return subprocess.run(["iscsiadm", *words], capture_output=True, timeout=60, check=False).returncode


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def kill_iscsid() -> None:
    """All of this kernel's."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        if path.read_text() == "iscsid\n":
            os.kill(int(path.parent.name), signal.SIGKILL)
    wait_for("it to be gone", lambda: not is_listening())


def test_a_blank_unit_gets_a_file_system_that_the_next_daemon_goes_on_with_and_no_password_is_left(
    host: SanVolumes, target: LioTarget, tmp_path: Path
) -> None:
    lun = next(LUNS)
    image = target.lun(lun)
    chap = {"chap-user": "me", "chap-password": "planted-word"}
    target.require(*chap.values())
    try:
        host.create("data", target.options(lun, **{**chap, "chap-password": "another-word"}), RECORD)
        with pytest.raises(HostFailure, match="authorization"):
            host.attach("data", new_id())
        host.change("data", target.options(lun, mode="0750", **chap), RECORD)
        use = new_id()
        data = host.attach("data", use)
        write(data / "file", "kept")
        assert disk(data).startswith("/dev/sd") and data.stat().st_mode & 0o777 == 0o750
        left = [path for path in (tmp_path / "first" / "run").rglob("*") if path.is_file()]
        assert left and not [path for path in left if b"planted-word" in path.read_bytes()]
        successor = SanVolumes(host.root, tmp_path / "first" / "run")
        successor.detach_others([use])
        assert (data / "file").read_text() == "kept" and successor.is_reached("data")
        successor.detach("data", use)
        successor.close()
    finally:
        target.open()
    assert not sessions() and not list((tmp_path / "first" / "run" / "sessions").iterdir())
    assert image.read_bytes()[1080:1082] == b"\x53\xef"  # ext4


def test_what_holds_something_else_is_refused_and_not_touched(host: SanVolumes, target: LioTarget) -> None:
    lun = next(LUNS)
    image = target.lun(lun)
    image.write_bytes(b"mine" * (4 << 20))
    before = image.read_bytes()
    host.create("data", target.options(lun), RECORD)
    with pytest.raises(Conflict, match="holds something"):
        host.attach("data", new_id())
    assert image.read_bytes() == before and not sessions()


def test_two_units_at_once_give_back_and_grow_and_who_waits_for_them_can_be_let_go(
    host: SanVolumes, target: LioTarget
) -> None:
    luns = [next(LUNS), next(LUNS)]
    images = [target.lun(lun) for lun in luns]
    for lun in luns:
        host.create(f"of{lun}", target.options(lun), RECORD)
    one, two = (host.attach(f"of{lun}", new_id()) for lun in luns)
    write(two / "file", "two")
    assert disk(one) != disk(two) and len(sessions()) == 2
    (one / "much").write_bytes(os.urandom(32 << 20))
    os.sync()
    full = images[0].stat().st_blocks
    (one / "much").unlink()
    os.sync()
    wait_for("it to be given back", lambda: images[0].stat().st_blocks < full - (24 << 11))
    before = os.statvfs(one).f_blocks
    target.lun(luns[0], 128 << 20)
    wait_for("the unit to be back", lambda: host.health(f"of{luns[0]}").state is HealthState.OK, 30)
    host.change(f"of{luns[0]}", target.options(luns[0]), RECORD)
    assert os.statvfs(one).f_blocks > before * 3 // 2
    assert (two / "file").read_text() == "two"
    target.switch(False)
    try:
        failed: list[bool] = []
        writer = threading.Thread(target=lambda: failed.append(fails_to_write(one / "file")))
        writer.start()
        wait_for("it to be found", lambda: host.health(f"of{luns[0]}").state is HealthState.HANGING, 30)
        host.interrupt(f"of{luns[0]}")
        writer.join(20)
        assert failed == [True] and host.health(f"of{luns[0]}").state is HealthState.STALE
    finally:
        target.switch(True)


def test_the_export_of_an_nbd_server_is_a_disk_of_the_kernels_for_as_long_as_its_leash(
    host: SanVolumes, tmp_path: Path
) -> None:
    with nbd_server(tmp_path) as server:
        host.create("data", {**server.options(), "via": "kernel"}, RECORD)
        use = new_id()
        host.tie("data", leash(tmp_path, "one"), 1)
        data = host.attach("data", use)
        assert disk(data).startswith("/dev/nbd")
        server.stop()
        writer = threading.Thread(target=write, args=(data / "file", "waited"))
        writer.start()
        wait_for("it to be found", lambda: host.health("data").state is not HealthState.OK, 30)
        server.start()
        writer.join(30)
        assert not writer.is_alive()
        host.cut("data", 0)
        assert fails_to_write(data / "late") and host.health("data").state is HealthState.STALE
        host.detach("data", use)
        assert not host.is_reached("data") and not list((tmp_path / "first/run/nbd").iterdir())
        assert "file" in names_in(server.path)


class TestBesideTheHostsOwn:
    """open-iscsi as the host's administrator set it up, with a record that is logged in to at each boot."""

    @pytest.fixture
    def etc(self, tmp_path: Path) -> Iterator[Path]:
        etc = Path("/etc/iscsi")
        (tmp_path / "etc").mkdir()
        bind(tmp_path / "etc", etc)
        (etc / "iscsid.conf").write_text("node.startup = automatic\n")
        (etc / "initiatorname.iscsi").write_text("InitiatorName=iqn.2026-11.test:its-own\n")
        kill_iscsid()
        own = subprocess.Popen(["iscsid", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("it", is_listening)
        yield etc
        iscsiadm("-m", "node", "--logoutall=all")
        own.kill()
        own.wait()
        unmount(etc)

    def test_neither_notices_the_other(self, host: SanVolumes, target: LioTarget, etc: Path) -> None:
        lun = next(LUNS)
        target.lun(lun)
        assert iscsiadm("-m", "discovery", "-t", "sendtargets", "-p", PORTAL) == 0
        assert iscsiadm("-m", "node", "--loginall=automatic") == 0
        (theirs,) = sessions()
        before = tree(etc)
        host.create("data", target.options(lun), RECORD)
        use = new_id()
        data = host.attach("data", use)
        assert len(sessions()) == 2 and tree(etc) == before
        assert iscsiadm("-m", "node", "--loginall=automatic") == EXISTS and len(sessions()) == 2
        host.detach("data", use)
        assert sessions() == [theirs]
        data = host.attach("data", use)
        assert iscsiadm("-m", "node", "--logoutall=all") == 0
        assert sessions() == [session_of(data)]
        write(data / "file", "ours")
        host.detach("data", use)
        assert not sessions() and tree(etc) == before


class TestFence:
    """Two hosts that one unit is shown to, here under two names."""

    @pytest.fixture
    def lun(self, hosts: list[SanVolumes], target: LioTarget) -> int:
        number = next(LUNS)
        target.lun(number)
        for index, host in enumerate(hosts):
            host.create("data", target.options(number, initiator=f"iqn.2026-11.test:host{index}"), RECORD)
        return number

    def test_a_host_outlives_a_cut_connection_and_cannot_write_once_another_does(
        self, hosts: list[SanVolumes], target: LioTarget, lun: int, tmp_path: Path
    ) -> None:
        old, new = hosts
        old.tie("data", leash(tmp_path, "one"), 1)
        data = old.attach("data", new_id())
        kill_iscsid()
        target.switch(False)
        writer = threading.Thread(target=write, args=(data / "early", "early"))
        writer.start()
        wait_for("it to be found", lambda: old.health("data").state is HealthState.HANGING, 30)
        assert writer.is_alive()
        target.switch(True)
        writer.join(40)
        assert not writer.is_alive()  # by a new connection, and it is still the one that has reserved
        new.tie("data", leash(tmp_path, "two"), 2)
        use = new_id()
        theirs = new.attach("data", use)
        assert (theirs / "early").read_text() == "early"
        assert fails_to_write(data / "late")
        fd = os.open(disk(data), os.O_WRONLY | os.O_DSYNC)
        with pytest.raises(OSError):
            os.pwrite(fd, bytes(4096), 1 << 20)
        os.close(fd)
        write(theirs / "mine", "mine")
        old.cut("data", 0)
        old.tie("data", leash(tmp_path, "one"), 1)
        with pytest.raises(Conflict, match="another host has write access"):
            old.attach("data", new_id())
        assert not fails_to_write(theirs / "last")
        assert target.reserved_by(lun) == "iqn.2026-11.test:host1"
        new.detach("data", use)
        assert not target.reserved_by(lun)
        names = names_in(target.lun_file(lun))
        assert {"early", "mine", "last"} <= names and "late" not in names

    def test_a_unit_that_fences_nobody_is_not_reached_by_the_kernel(
        self, hosts: list[SanVolumes], tmp_path: Path
    ) -> None:
        simple = IscsiTarget(tmp_path)
        simple.lun(1)
        simple.start()
        try:
            hosts[0].create("data", {**simple.options(1), "via": "kernel"}, RECORD)
            hosts[0].tie("data", leash(tmp_path, "one"), 1)
            with pytest.raises(Unsupported, match="PREEMPT AND ABORT"):
                hosts[0].attach("data", new_id())
            assert not sessions()
        finally:
            simple.close()
