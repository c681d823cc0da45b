"""What becomes of devices of a SAN, and of what is on them: looked at before anything is written, checked, grown,
waited for while the storage is away."""

import errno
import hashlib
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.drivers.volumes import san as san_driver
from orlop.drivers.volumes import san_mount
from orlop.drivers.volumes.mount_program import MountProgram
from orlop.drivers.volumes.san import SanVolumes
from orlop.drivers.volumes.san_chain import SanChain
from orlop.drivers.volumes.san_options import parse_san_options
from orlop.drivers.volumes.san_record import read_record, write_record
from orlop.drivers.volumes.volume_directory import VolumesRoot
from orlop.errors import Conflict, HostFailure, Unavailable
from orlop.kernel.libc import LIBC
from orlop.kernel.mounts import MNT_DETACH, is_mount_point, mounts_at_or_below, unmount
from orlop.testing.volume_fixtures import RECORD, new_id
from support.daemon import wait_for
from support.iscsi_target import IscsiTarget, iscsi_target, needs_san
from support.leaks import find_leaks
from support.nbd_counter import NbdCounter

pytestmark = needs_san

_PUNCH_HOLE = 0x3  # and keep the size


class House:
    """A driver and its storage."""

    def __init__(self, place: Path, target: IscsiTarget) -> None:
        self.place = place
        self.target = target
        self.driver = SanVolumes(place / "volumes", place / "run")

    def made(self, name: str = "data", lun: int = 1, **options: str) -> None:
        given = {key.replace("_", "-"): value for key, value in options.items()}
        self.driver.create(name, {**self.target.options(lun), **given}, RECORD)

    def program(self, name: str = "data") -> int:
        return SanChain(self.place / "run", self.record(name).id).program.pid

    def record(self, name: str = "data"):  # type: ignore[no-untyped-def]
        root = VolumesRoot(self.place / "volumes")
        try:
            with root.open(name) as volume:
                return read_record(volume)
        finally:
            root.close()

    def edit(self, **changes: object) -> None:
        root = VolumesRoot(self.place / "volumes")
        with root.open("data") as volume:
            write_record(volume, replace(read_record(volume), **changes))  # type: ignore[arg-type]
        root.close()

    def close(self) -> None:
        for place in (self.place / "run/programs").glob("*"):
            MountProgram(place).end(0.0)  # nobody waits for storage any more
        for entry in mounts_at_or_below(self.place / "volumes"):
            unmount(entry.mount_point, MNT_DETACH)
        self.driver.detach_others(())
        wait_for(
            "everything to be gone", lambda: not find_leaks([self.place / "run", self.place / "volumes"]), seconds=40
        )
        self.driver.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with iscsi_target(tmp_path, 1, 2) as target:
        house = House(tmp_path, target)
        try:
            yield house
        finally:
            if not target.is_running:
                target.start()
            house.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill(path: Path, what: str) -> None:
    size = path.stat().st_size
    match what:
        case "a partition table":
            with path.open("r+b") as file:
                file.seek(446)
                file.write(struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 2048, size // 512 - 2048))
                file.seek(510)
                file.write(b"\x55\xaa")
        case "btrfs":
            os.truncate(path, 128 << 20)
            subprocess.run(["mkfs.btrfs", "-q", path], check=True)
        case "swap":
            subprocess.run(["mkswap", "-q", path], check=True, capture_output=True)
        case "data at the start":
            with path.open("r+b") as file:
                file.write(b"\0" * 5000 + b"precious")
        case "data at the end":
            with path.open("r+b") as file:
                file.seek(size - 600)
                file.write(b"precious")


class TestNothingIsOverwritten:
    @pytest.mark.parametrize("what", ["a partition table", "btrfs", "swap", "data at the start", "data at the end"])
    def test_a_device_that_holds_anything_is_refused_and_left_as_it_is(self, house: House, what: str) -> None:
        device = house.target.luns[2]
        house.target.stop()
        fill(device, what)
        house.target.start()
        before = digest(device)
        house.made(lun=2)
        with pytest.raises(Conflict, match="holds something"):
            house.driver.attach("data", new_id())
        assert digest(device) == before
        assert not find_leaks([house.place / "run"])

    def test_a_file_system_that_is_there_is_used_as_it_is(self, house: House) -> None:
        device = house.target.luns[1]
        subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
        house.made(fstype="xfs")
        with pytest.raises(Conflict, match="holds ext4, and fstype=xfs was asked for"):
            house.driver.attach("data", new_id())
        house.driver.change("data", house.target.options(1), RECORD)
        use = new_id()
        assert os.listdir(house.driver.attach("data", use)) == ["lost+found"]
        house.driver.detach("data", use)

    def test_nothing_is_made_where_that_was_not_wanted(self, house: House) -> None:
        device = house.target.luns[1]
        house.made(format="never")
        with pytest.raises(Conflict, match="is blank, and format=never"):
            house.driver.attach("data", new_id())
        house.driver.change("data", {**house.target.options(1), "read-only": "true"}, RECORD)
        with pytest.raises(Conflict, match="is blank, and the volume is read-only"):
            house.driver.attach("data", new_id())
        assert not any(device.read_bytes())

    def test_another_device_in_the_place_of_the_volumes_own_is_refused(self, house: House) -> None:
        house.made("other", 2)
        house.made("data", 1)
        for name in ("data", "other"):
            use = new_id()
            (house.driver.attach(name, use) / "note").write_text(name)
            house.driver.detach(name, use)
        house.target.stop()
        house.target.swap(1, 2)
        house.target.start()
        with pytest.raises(Conflict, match="holds another file system"):
            house.driver.attach("data", new_id())
        house.target.stop()
        house.target.swap(1, 2)
        os.truncate(house.target.luns[1], 0)
        os.truncate(house.target.luns[1], 64 << 20)
        house.target.start()
        with pytest.raises(Conflict, match="is blank, and this volume's file system has the id"):
            house.driver.attach("data", new_id())
        assert not any(house.target.luns[1].read_bytes())

    def test_a_file_system_whose_making_was_cut_off_is_made_again_and_what_is_whole_never(self, house: House) -> None:
        uuid = "11111111-2222-3333-4444-555555555555"
        house.made()
        house.edit(uuid=uuid, is_being_made=True)
        with house.target.luns[1].open("r+b") as device:
            device.write(b"\0" * 8192 + b"half an inode table")
        use = new_id()
        (house.driver.attach("data", use) / "note").write_text("kept")
        assert house.record().uuid == uuid and not house.record().is_being_made
        house.driver.detach("data", use)
        assert (house.driver.attach("data", use) / "note").read_text() == "kept"
        house.driver.detach("data", use)

    def test_what_somebody_put_there_after_a_making_was_cut_off_is_kept(self, house: House) -> None:
        house.made()
        house.edit(uuid="11111111-2222-3333-4444-555555555555", is_being_made=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", house.target.luns[1]], check=True)
        before = digest(house.target.luns[1])
        with pytest.raises(Conflict, match="holds another file system"):
            house.driver.attach("data", new_id())
        assert digest(house.target.luns[1]) == before


class TestOneWriter:
    def test_two_volumes_of_one_device_are_refused(self, house: House) -> None:
        house.made("one", 1)
        with pytest.raises(Conflict, match="is the device of the volume one already"):
            house.driver.create("two", {**house.target.options(1), "portal": f"localhost:{house.target.port}"}, RECORD)
        house.made("two", 2)
        with pytest.raises(Conflict, match="is the device of the volume one already"):
            house.driver.change("two", house.target.options(1), RECORD)

    def test_one_device_by_two_addresses_is_known_by_its_file_system(self, house: House) -> None:
        house.target.stop()
        house.target.luns[2] = house.target.luns[1]
        house.target.start()
        house.made("one", 1)
        house.made("two", 2)
        use = new_id()
        (house.driver.attach("one", use) / "note").write_text("kept")
        subprocess.run(["sync", "-f", house.place / "volumes/one/_data"], check=True)
        with pytest.raises(Conflict, match="is in use by the volume one"):
            house.driver.attach("two", new_id())
        house.driver.detach("one", use)
        assert (house.driver.attach("two", use) / "note").read_text() == "kept"
        house.driver.detach("two", use)


class TestTheFileSystem:
    def test_a_new_one_is_empty_and_belongs_to_whom_the_options_say(self, house: House) -> None:
        house.made(uid="1000", gid="1001", mode="0750")
        use = new_id()
        top = house.driver.attach("data", use)
        assert os.listdir(top) == []
        found = top.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1000, 1001, 0o750)
        house.driver.detach("data", use)

    def test_it_grows_with_its_device_from_one_use_to_the_next(self, house: House) -> None:
        house.made()
        use = new_id()
        top = house.driver.attach("data", use)
        (top / "note").write_text("kept")
        before = os.statvfs(top).f_blocks
        house.driver.detach("data", use)
        house.target.stop()
        os.truncate(house.target.luns[1], 128 << 20)
        house.target.start()
        top = house.driver.attach("data", use)
        assert os.statvfs(top).f_blocks > 1.8 * before
        assert (top / "note").read_text() == "kept"
        house.driver.detach("data", use)

    def test_xfs_grows_while_it_is_used(self, house: House) -> None:
        house.target.lun(3, 320 << 20)
        house.made(lun=3, fstype="xfs")
        use = new_id()
        top = house.driver.attach("data", use)
        (top / "note").write_text("kept")
        before = os.statvfs(top).f_blocks
        house.target.stop()
        os.truncate(house.target.luns[3], 640 << 20)
        house.target.start()
        house.driver.change("data", {**house.target.options(3), "fstype": "xfs"}, RECORD)
        assert os.statvfs(top).f_blocks > 1.8 * before
        assert (top / "note").read_text() == "kept"
        house.driver.detach("data", use)

    def test_read_only_is_read_only_down_to_the_device(self, house: House) -> None:
        house.made()
        use = new_id()
        (house.driver.attach("data", use) / "note").write_text("kept")
        house.driver.detach("data", use)
        before = digest(house.target.luns[1])
        house.driver.change("data", {**house.target.options(1), "read-only": "true"}, RECORD)
        top = house.driver.attach("data", use)
        assert (top / "note").read_text() == "kept"
        with pytest.raises(OSError) as refused:
            (top / "other").write_text("x")
        assert refused.value.errno == errno.EROFS
        house.driver.detach("data", use)
        assert digest(house.target.luns[1]) == before

    def test_many_who_write_at_once_read_what_they_wrote_also_on_the_device(self, house: House) -> None:
        house.target.lun(3, 256 << 20)
        house.made(lun=3)
        use = new_id()
        top = house.driver.attach("data", use)
        written: dict[str, str] = {}

        def write(name: str) -> None:
            data = os.urandom(12 << 20)
            written[name] = hashlib.sha256(data).hexdigest()
            fd = os.open(top / name, os.O_CREAT | os.O_WRONLY)
            for at in range(0, len(data), 1 << 20):
                os.pwrite(fd, data[at : at + (1 << 20)], at)
                os.fdatasync(fd)
            os.close(fd)

        writers = [threading.Thread(target=write, args=(f"file{number}",)) for number in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        house.driver.detach("data", use)
        assert subprocess.run(["e2fsck", "-fn", house.target.luns[3]], capture_output=True, check=False).returncode == 0
        seen = house.place / "seen"
        seen.mkdir()
        subprocess.run(["mount", "-o", "loop,ro,noload", house.target.luns[3], seen], check=True)
        try:
            assert {name: digest(seen / name) for name in written} == written
        finally:
            subprocess.run(["umount", seen], check=True)


def test_a_hole_reads_as_zeroes_or_is_refused(house: House) -> None:
    chain = SanChain(house.place / "run", "hole")
    chain.start("trying it", parse_san_options("trying it", house.target.options(1)))
    fd = os.open(chain.disk, os.O_RDWR)
    try:
        os.pwrite(fd, b"x" * (64 << 10), 1 << 20)
        done = LIBC.fallocate(fd, _PUNCH_HOLE, 1 << 20, 64 << 10)
        assert os.pread(fd, 64 << 10, 1 << 20) == (b"x" if done else b"\0") * (64 << 10)
    finally:
        os.close(fd)
        chain.clear()


@pytest.mark.parametrize("discard", ["true", "false"])
def test_each_sync_has_the_server_flush_what_was_written_once(tmp_path: Path, discard: str) -> None:
    """Also where a filter is in between, which must neither swallow it nor ask twice."""
    chain = SanChain(tmp_path / "run", "sync")
    with NbdCounter() as server:
        chain.start("trying it", parse_san_options("trying it", {**server.options, "discard": discard}))
        fd = os.open(chain.disk, os.O_RDWR)
        try:
            for number in range(5):
                server.asked.clear()
                os.pwrite(fd, b"x" * 4096, 4096 * number)
                os.fsync(fd)
                assert server.asked == ["write", "flush"]
        finally:
            os.close(fd)
            chain.clear()


class TestStorageThatGoes:
    def test_who_writes_waits_while_the_storage_is_cut_off_and_goes_on(self, house: House) -> None:
        house.made()
        use = new_id()
        top = house.driver.attach("data", use)
        house.target.stop()
        writer = subprocess.Popen(["sh", "-c", f"echo kept > {top}/note; sync -f {top}"])
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(1)
        house.target.start()
        assert writer.wait(30) == 0
        house.driver.detach("data", use)
        assert (house.driver.attach("data", use) / "note").read_text() == "kept\n"
        house.driver.detach("data", use)

    def test_a_last_use_that_ends_meanwhile_ends_once_everything_is_written(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(san_mount, "SYNC_SECONDS", 1.0)
        monkeypatch.setattr(san_driver, "_AGAIN_SECONDS", 1.0)
        house.made()
        use = new_id()
        top = house.driver.attach("data", use)
        with (top / "note").open("wb", buffering=0) as note:
            note.write(b"k")
            os.fsync(note.fileno())
            house.target.stop()
            note.write(b"ept")  # to memory alone: what has to be read from the device would wait in the kernel
        with pytest.raises(Unavailable, match="stays mounted until it is"):
            house.driver.detach("data", use)
        assert is_mount_point(top)
        house.target.start()
        wait_for("the volume to be let go of", lambda: not is_mount_point(top), 40)
        wait_for("its program to end", lambda: not house.program())
        assert (house.driver.attach("data", use) / "note").read_text() == "kept"
        house.driver.detach("data", use)

    def test_storage_that_is_away_or_refuses_is_told_in_its_words(self, house: House) -> None:
        house.made("other", 7)
        with pytest.raises(Unavailable, match="LUN 7 of iqn"):  # storage that starts shows it later
            house.driver.attach("other", new_id())
        house.target.stop()
        house.made()
        with pytest.raises(Unavailable, match="nobody takes the connection"):
            house.driver.attach("data", new_id())
        assert not find_leaks([house.place / "run"])

    def test_a_killed_program_costs_nothing_that_was_synced(self, house: House) -> None:
        house.made()
        use, other = new_id(), new_id()
        top = house.driver.attach("data", use)
        (top / "note").write_text("kept")
        subprocess.run(["sync", "-f", top], check=True)
        (top / "more").write_text("perhaps")
        os.kill(house.program(), signal.SIGKILL)
        assert (house.driver.attach("data", other) / "note").read_text() == "kept", "while the first one still has it"
        house.driver.detach("data", use)
        house.driver.detach("data", other)
        assert not is_mount_point(top)

    def test_a_killed_program_whose_user_just_ends_leaves_nothing_behind(self, house: House) -> None:
        house.made()
        use = new_id()
        top = house.driver.attach("data", use)
        os.kill(house.program(), signal.SIGKILL)
        house.driver.detach("data", use)
        assert not is_mount_point(top)
        wait_for("everything to be gone", lambda: not find_leaks([house.place / "run", house.place / "volumes"]))


def test_chap_lets_in_who_knows_the_password_and_shows_it_to_nobody(tmp_path: Path) -> None:
    with iscsi_target(tmp_path, 1, chap=("me", "twelve-letters")) as target:
        secrets = {"secret://chap": "wrong-letters!"}
        house = House(tmp_path, target)
        house.driver.close()
        house.driver = SanVolumes(
            tmp_path / "volumes",
            tmp_path / "run",
            lambda options: {key: secrets.get(value, value) for key, value in options.items()},
        )
        house.made(chap_user="me", chap_password="secret://chap")
        with pytest.raises(HostFailure, match="Check target, lun or export, chap-user") as refused:
            house.driver.attach("data", new_id())
        assert "letters" not in refused.value.message
        secrets["secret://chap"] = "twelve-letters"
        use = new_id()
        house.driver.attach("data", use)
        try:
            command = Path(f"/proc/{house.program()}/cmdline").read_bytes()
            environment = Path(f"/proc/{house.program()}/environ").read_bytes()
            assert b"letters" not in command + environment
            kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and not path.match("disks/*")]
            assert not [path for path in kept if b"letters" in path.read_bytes()]
        finally:
            house.driver.detach("data", use)
        house.close()


def debugfs(device: Path, *requests: str) -> None:
    for request in requests:
        done = subprocess.run(["debugfs", "-w", "-R", request, device], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Usage" not in done.stderr, done.stderr


class TestAnEndThatWasNotClean:
    @pytest.fixture
    def device(self, house: House) -> Path:
        """Of a volume with a file system that nobody has attached."""
        house.made()
        use = new_id()
        (house.driver.attach("data", use) / "note").write_text("kept")
        house.driver.detach("data", use)
        house.target.stop()
        return house.target.luns[1]

    def test_is_mended_before_the_mount(self, house: House, device: Path, caplog: pytest.LogCaptureFixture) -> None:
        debugfs(device, "set_bg 0 free_blocks_count 7", "set_bg 0 checksum calc", "ssv state 2")
        assert subprocess.run(["e2fsck", "-fn", device], capture_output=True, check=False).returncode != 0
        house.target.start()
        use = new_id()
        assert (house.driver.attach("data", use) / "note").read_text() == "kept"
        assert "e2fsck mended its file system" in caplog.text
        house.driver.detach("data", use)
        house.target.stop()
        assert subprocess.run(["e2fsck", "-fn", device], capture_output=True, check=False).returncode == 0

    def test_what_cannot_be_mended_is_told_and_not_mounted(self, house: House, device: Path) -> None:
        debugfs(device, "clri <2>", "ssv state 2")
        house.target.start()
        with pytest.raises(HostFailure, match="its file system is damaged, and e2fsck -p does not mend it") as refused:
            house.driver.attach("data", new_id())
        assert "run e2fsck on it" in refused.value.hint
        assert not find_leaks([house.place / "run"])
        house.target.stop()
        subprocess.run(["e2fsck", "-fy", device], capture_output=True, check=False)
        house.target.start()
        use = new_id()
        (found,) = (house.driver.attach("data", use) / "lost+found").iterdir()  # its name is lost
        assert found.read_text() == "kept", "what somebody mended by hand is mounted again"
        house.driver.detach("data", use)


def test_what_is_deleted_is_given_back_or_the_trim_is_refused(house: House) -> None:
    """And what is kept stays as it is, either way."""
    house.made()
    use = new_id()
    top = house.driver.attach("data", use)
    kept = os.urandom(4 << 20)
    (top / "kept").write_bytes(kept)
    (top / "gone").write_bytes(os.urandom(16 << 20))
    subprocess.run(["sync", "-f", top], check=True)
    (top / "gone").unlink()
    trimmed = subprocess.run(["fstrim", "-v", top], capture_output=True, text=True, check=False)
    assert "trimmed" in trimmed.stdout or "not supported" in trimmed.stderr
    house.driver.detach("data", use)
    assert (house.driver.attach("data", use) / "kept").read_bytes() == kept
    house.driver.detach("data", use)
    assert subprocess.run(["e2fsck", "-fn", house.target.luns[1]], capture_output=True, check=False).returncode == 0
