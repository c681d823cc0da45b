"""The daemon's journal is lost: `orlop recover` brings every volume back, and says what it cannot bring back."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon, orlop_command, run_command, wait_for


@pytest.fixture(scope="module")
def ours(docker_command: Path, busybox_tar: Path) -> Iterator[LiveDaemon]:
    """One for all tests here: each takes its journal away, and `orlop recover` brings it back."""
    daemon = LiveDaemon(docker_command)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def daemon(ours: LiveDaemon, busybox_tar: Path) -> Iterator[LiveDaemon]:
    ours.docker("import", busybox_tar, "busybox")
    yield ours
    left = volumes_of(ours)
    assert disorder(ours) == []
    if "protected" in left:
        ours.orlop("volume", "update", "protected", "--label-rm", "orlop.protect")
    ours.clear()
    for retired in retired_of(ours):
        ours.orlop("volume", "purge", "--force", retired["ID"])
    shutil.rmtree(ours.data_root / "orlop/set-aside", ignore_errors=True)


def populate(daemon: LiveDaemon, outside: Path) -> None:
    """Volumes of every kind, one of them removed, an image and a container."""
    outside.mkdir(exist_ok=True)
    daemon.docker("volume", "create", "plain")
    daemon.docker("volume", "create", "--label", "tier=db", "--label", "empty=", "before")
    daemon.orlop("volume", "rename", "before", "labelled")
    daemon.docker("volume", "create", "--label", "orlop.protect=true", "protected")
    bind = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={outside}")
    daemon.docker("volume", "create", *bind, "--label", "kind=bind", "bound")
    daemon.docker("create", "--name", "keeper", "-v", "labelled:/data", "-v", "/anonymous", "busybox", "true")
    (daemon.volume_data("labelled") / "note").write_text("kept\n")
    daemon.docker("volume", "create", "--label", "was=here", "gone")
    (daemon.volume_data("gone") / "note").write_text("removed\n")
    daemon.docker("volume", "rm", "gone")


def volumes_of(daemon: LiveDaemon) -> dict[str, dict[str, Any]]:
    names = daemon.docker("volume", "ls", "-q").stdout.split()
    found = json.loads(daemon.docker("volume", "inspect", *names).stdout) if names else []
    for each in found:
        each.pop("Status", None)  # what is seen of it, not what it is
    return {each["Name"]: each for each in found}


def retired_of(daemon: LiveDaemon) -> list[dict[str, Any]]:
    lines = daemon.orlop("volume", "ls", "--retired", "--format", "json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def records_of(daemon: LiveDaemon) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{daemon.data_root}/orlop/journal.db?mode=ro", uri=True)) as database:
        return {row[0]: json.loads(row[1]) for row in database.execute("SELECT id, record FROM volumes")}


def ids_of(daemon: LiveDaemon) -> dict[str, str]:
    return {name: record["id"] for name, record in records_of(daemon).items()}


def journal_parts(daemon: LiveDaemon) -> list[Path]:
    return [daemon.data_root / "orlop" / f"journal.db{end}" for end in ("", "-wal", "-shm")]


def lose(daemon: LiveDaemon) -> None:
    for part in journal_parts(daemon):
        part.unlink(missing_ok=True)


def empty(daemon: LiveDaemon) -> None:
    lose(daemon)
    journal_parts(daemon)[0].touch()


def fill_with_garbage(daemon: LiveDaemon) -> None:
    lose(daemon)
    journal_parts(daemon)[0].write_bytes(os.urandom(65536))


def cut_in_half(daemon: LiveDaemon) -> None:
    journal = journal_parts(daemon)[0]
    with closing(sqlite3.connect(journal)) as database:  # what is in the log goes into the file, which is then cut
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(journal, journal.stat().st_size // 2)


def leave_the_log_alone(daemon: LiveDaemon) -> None:
    journal_parts(daemon)[0].unlink()
    assert journal_parts(daemon)[1].stat().st_size


def spoil_a_record(daemon: LiveDaemon) -> None:
    with closing(sqlite3.connect(journal_parts(daemon)[0])) as database:
        database.execute("UPDATE volumes SET record = x'7b22' WHERE id = 'plain'")
        database.commit()


def lose_the_folder(daemon: LiveDaemon) -> None:
    shutil.rmtree(daemon.home / "orlop-lost", ignore_errors=True)
    (daemon.data_root / "orlop").rename(daemon.home / "orlop-lost")


WAYS = [lose, empty, fill_with_garbage, cut_in_half, leave_the_log_alone, spoil_a_record, lose_the_folder]


def recover(daemon: LiveDaemon, *arguments: str, code: int = 0) -> str:
    done = daemon.orlop("recover", "--data-root", daemon.data_root, *arguments, code=code)
    return done.stdout + done.stderr


@pytest.mark.parametrize("destroy", WAYS, ids=lambda way: str(way.__name__))
def test_every_volume_comes_back(destroy: Callable[[LiveDaemon], None], daemon: LiveDaemon, tmp_path: Path) -> None:
    populate(daemon, tmp_path / "outside")
    volumes, retired, records = volumes_of(daemon), retired_of(daemon), records_of(daemon)
    assert len(volumes) == 5 and len(retired) == 1 and records["labelled"]["aliases"] == ["before"]
    daemon.kill()
    destroy(daemon)

    daemon.start(wait=False)
    assert daemon.wait_for_exit() == 1, "the daemon starts without its journal"
    assert f"orlop recover --data-root {daemon.data_root}" in daemon.logs()

    said = recover(daemon)
    assert "5 volumes and 1 removed ones are in the new journal" in said
    assert "containers (1): their settings stood in the journal alone" in said
    assert "Load the images again" in said

    daemon.start()
    assert volumes_of(daemon) == volumes
    assert retired_of(daemon) == retired
    assert records_of(daemon) == records
    assert (daemon.volume_data("labelled") / "note").read_text() == "kept\n"
    anonymous = next(name for name in volumes if len(name) == 64)
    assert "com.docker.volume.anonymous" in volumes[anonymous]["Labels"]
    daemon.orlop("volume", "restore", "gone")
    assert (daemon.volume_data("gone") / "note").read_text() == "removed\n"
    assert daemon.docker("ps", "-aq").stdout == "" and daemon.docker("images", "-q").stdout == ""


def test_a_sound_journal_is_left_alone(daemon: LiveDaemon, tmp_path: Path) -> None:
    populate(daemon, tmp_path / "outside")
    records = records_of(daemon)
    for end in (daemon.stop, daemon.kill):  # with and without its log beside it
        end()
        before = {part: part.read_bytes() for part in journal_parts(daemon) if part.exists()}
        assert "The journal is sound (5 volumes, 1 retired, 1 containers, 1 images)" in recover(daemon)
        assert {part: part.read_bytes() for part in journal_parts(daemon) if part.exists()} == before
        daemon.start()
    assert records_of(daemon) == records


def test_what_cannot_be_used_is_set_aside_and_not_deleted(daemon: LiveDaemon, tmp_path: Path) -> None:
    populate(daemon, tmp_path / "outside")
    layers = daemon.layer_folders()
    containers = {path.name for path in (daemon.data_root / "containers").iterdir()}
    assert layers and containers
    daemon.kill()
    cut_in_half(daemon)
    broken = journal_parts(daemon)[0].read_bytes()
    place = Path(json.loads(recover(daemon, "--format", "json"))["SetAside"])
    assert place.parent == daemon.data_root / "orlop" / "set-aside"
    assert (place / "journal.db").read_bytes() == broken
    assert layers <= {path.name for path in (place / "overlay2").iterdir()}
    assert containers == {path.name for path in (place / "containers").iterdir()}
    daemon.start()
    assert layers <= {path.name for path in (place / "overlay2").iterdir()}, "the start took them away"


def test_a_dry_run_changes_nothing(daemon: LiveDaemon, tmp_path: Path) -> None:
    populate(daemon, tmp_path / "outside")
    daemon.kill()
    fill_with_garbage(daemon)

    def everything() -> dict[str, tuple[int, int]]:
        found = {}
        for path in daemon.data_root.rglob("*"):
            if path.name != "lock":
                details = path.lstat()
                found[str(path)] = (details.st_mtime_ns, details.st_size)
        return found

    before = everything()
    tried = json.loads(recover(daemon, "--dry-run", "--format", "json"))
    assert not tried["Done"] and len(tried["Volumes"]) == 5
    assert "would be brought back. Nothing was changed" in recover(daemon, "--dry-run")
    assert everything() == before
    recover(daemon)
    daemon.start()


def test_a_daemon_that_runs_is_not_disturbed(daemon: LiveDaemon) -> None:
    assert f"in use by pid {daemon.pid}" in recover(daemon, code=1)


def pid_of_sleep(daemon: LiveDaemon, container: str) -> int:
    """Once that is what its process is: what it begins as has other words on its command line."""
    pid = int(daemon.inspect("container", container)["State"]["Pid"])
    wait_for("it to sleep", lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00")
    return pid


def test_what_still_runs_is_named_and_must_end_first(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "busy", "-v", "data:/data", "busybox", "sleep", "1000")
    pid = pid_of_sleep(daemon, "busy")
    daemon.kill()
    lose(daemon)
    assert "busy" in recover(daemon, "--dry-run")
    said = recover(daemon, code=1)
    assert f"pid {pid}, sleep 1000, uses data" in said and f"kill {pid}" in said
    assert Path(f"/proc/{pid}").exists() and not (daemon.data_root / "orlop" / "journal.db").exists()
    os.kill(pid, signal.SIGKILL)
    wait_for("the container to end", lambda: "still run" not in recover(daemon, "--dry-run"))
    recover(daemon)
    daemon.start()
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    daemon.docker("volume", "rm", "data")


def test_what_contradicts_itself_is_said(daemon: LiveDaemon, tmp_path: Path) -> None:
    """A copy made by hand, a folder renamed by hand, a spoilt record, a volume another engine made."""
    for name in ("original", "renamed", "spoilt", "docker-made", "half"):
        daemon.docker("volume", "create", "--label", f"of={name}", name)
    ids = ids_of(daemon)
    daemon.kill()
    lose(daemon)
    volumes = daemon.data_root / "volumes"
    (volumes / "copy/_data").mkdir(parents=True)
    (volumes / "copy/orlop.json").write_bytes((volumes / "original/orlop.json").read_bytes())
    (volumes / "renamed").rename(volumes / "by-hand")
    (volumes / "spoilt/orlop.json").write_text('{"name": "spoi')
    (volumes / "docker-made/orlop.json").unlink()
    options = {"MountType": "none", "MountOpts": "bind", "MountDevice": str(tmp_path), "Quota": {"Size": 0}}
    (volumes / "docker-made/opts.json").write_text(json.dumps(options))
    (volumes / "half/_data").rmdir()
    (volumes / "stray").write_text("no volume")
    said = recover(daemon)
    assert "volume copy: its record is the one of original" in said
    assert f"volume copy: original has the same id {ids['original'][:12]}: this one gets an id of its own" in said
    assert "volume by-hand: its record is the one of renamed" in said
    assert "volume spoilt: its record is unreadable" in said
    assert "volume half: its data directory" in said
    assert (volumes / "stray").read_text() == "no volume"
    (volumes / "stray").unlink()
    assert (volumes / "spoilt/orlop.json").read_text() == '{"name": "spoi'
    daemon.start()
    now = ids_of(daemon)
    assert now["original"] == ids["original"] != now["copy"] and now["by-hand"] == ids["renamed"]
    found = volumes_of(daemon)
    assert found["by-hand"]["Labels"] == {"of": "renamed"} and found["copy"]["Labels"] == {"of": "original"}
    assert found["docker-made"]["Options"] == {"type": "none", "o": "bind", "device": str(tmp_path)}
    assert not found["spoilt"]["Labels"]
    for name in ("original", "copy", "by-hand", "spoilt"):  # each can be used: no record stands in its way
        daemon.docker("create", "--name", name, "-v", f"{name}:/data", "busybox", "true", code=None)
    daemon.stop()
    lose(daemon)
    again = recover(daemon)
    assert "original" not in [line.split()[2] for line in again.splitlines() if "the same id" in line]
    assert "same id" not in again and "is the one of" not in again, "the records beside the data were not put right"
    daemon.start()
    assert ids_of(daemon)["copy"] == now["copy"]
    daemon.docker("volume", "rm", "spoilt")


def test_what_lost_containers_had_mounted_is_let_go(daemon: LiveDaemon, busybox_tar: Path) -> None:
    """A volume with a mount of its own outlives its container's end, and the journal that knew who used it."""
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "memory")
    daemon.docker("volume", "create", "-o", "size=16m", "limited")
    command = ("sh", "-c", "echo kept > /l/note; exec sleep 1000")
    daemon.docker("run", "-d", "--name", "busy", "-v", "memory:/m", "-v", "limited:/l", "busybox", *command)
    pid = pid_of_sleep(daemon, "busy")
    daemon.kill()
    lose(daemon)
    assert f"pid {pid}: sleep 1000, uses limited, memory" in recover(daemon, "--dry-run")
    os.kill(pid, signal.SIGKILL)
    wait_for("the container to end", lambda: "still run" not in recover(daemon, "--dry-run"))
    recover(daemon)
    daemon.start()
    daemon.docker("volume", "rm", "memory")
    daemon.docker("import", busybox_tar, "busybox")
    read = ("run", "--rm", "--network", "none", "-v", "limited:/l", "busybox", "cat", "/l/note")
    assert daemon.docker(*read).stdout == "kept\n"


def test_a_secret_that_went_with_the_folder_is_named(daemon: LiveDaemon) -> None:
    """The journal's loss costs no secret; where the whole folder is gone, only the secrets' names are left."""
    daemon.orlop("secret", "create", "nas", stdin="hidden")
    options = ("-o", "type=cifs", "-o", "device=//nas/team", "-o", "o=addr=nas,password=secret://nas")
    daemon.docker("volume", "create", *options, "team")
    daemon.kill()
    lose(daemon)
    assert "secret" not in recover(daemon, "--dry-run").replace("secret://nas", "")
    lose_the_folder(daemon)
    said = recover(daemon)
    assert "secret nas, which volumes need (team). Create it again: orlop secret create nas" in said
    assert "hidden" not in said
    daemon.start()
    shutil.rmtree(daemon.home / "orlop-lost")


def test_recovery_is_killed_at_every_step(daemon: LiveDaemon, tmp_path: Path) -> None:
    """Wherever it was cut off, it is run again and everything comes back."""
    populate(daemon, tmp_path / "outside")
    volumes, retired = volumes_of(daemon), retired_of(daemon)
    daemon.kill()
    cut_in_half(daemon)
    root, points = ("--data-root", daemon.data_root), tmp_path / "points"
    kept = tmp_path / "kept"
    subprocess.run(["cp", "-a", daemon.data_root, kept], check=True)
    again = {**daemon.orlop_environment, "ORLOP_FAULT_LOG": str(points)}
    run_command([*orlop_command(), "recover", "--data-root", kept], env=again)
    passed = points.read_text().splitlines()
    assert len(passed) >= 6
    for point in passed:
        killed = {**daemon.orlop_environment, "ORLOP_FAULT": f"{point}=kill"}
        assert run_command([*orlop_command(), "recover", *root], code=None, env=killed).returncode == -9, point
    said = recover(daemon)
    assert "5 volumes and 1 removed ones are in the new journal" in said or "journal is sound" in said
    daemon.start()
    assert volumes_of(daemon) == volumes and retired_of(daemon) == retired


def test_what_a_killed_start_left_of_its_trying_is_cleared_and_says_nothing(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    daemon.docker("volume", "create", "data")
    daemon.kill()
    (daemon.data_root / ".overlay-probe-left/merged").mkdir(parents=True)
    shutil.rmtree(daemon.data_root / "orlop")
    daemon.orlop("recover", "--data-root", daemon.data_root)
    daemon.start()
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    assert not list(daemon.data_root.glob(".overlay-probe-*"))
