"""A volume that is broken on the disk: it alone is, it says what is wrong, and it is well again when that is mended."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.asking import Api
from support.daemon import LiveDaemon

# what is broken, how (given the volume's directory), and what the user is told of it
Breaking = Callable[[Path], None]


def empty_options(volume: Path) -> None:
    (volume / "opts.json").write_text("")


def corrupt_options(volume: Path) -> None:
    (volume / "opts.json").write_text('{"MountType": "tmpfs", "MountOpts": "password=hush')


def senseless_options(volume: Path) -> None:
    (volume / "opts.json").write_text('{"MountType": 7}')


def oversized_options(volume: Path) -> None:
    (volume / "opts.json").write_text('"' + "x" * (5 << 20) + '"')


def unreadable_options(volume: Path) -> None:
    (volume / "opts.json").unlink(missing_ok=True)
    (volume / "opts.json").mkdir()


def linked_options(volume: Path) -> None:
    (volume / "opts.json").unlink(missing_ok=True)
    (volume / "opts.json").symlink_to("/etc/hostname")


def no_data(volume: Path) -> None:
    (volume / "_data").rmdir()


def data_that_is_a_file(volume: Path) -> None:
    (volume / "_data").rmdir()
    (volume / "_data").write_text("")


def data_that_is_a_link(volume: Path) -> None:
    (volume / "_data").rmdir()
    (volume / "_data").symlink_to(volume.parent / "well" / "_data")


def another_in_its_place(volume: Path) -> None:
    shutil.rmtree(volume)
    shutil.copytree(volume.parent / "well", volume)


def deleted(volume: Path) -> None:
    shutil.rmtree(volume)


def link_in_its_place(volume: Path) -> None:
    shutil.rmtree(volume)
    volume.symlink_to(volume.parent / "well")


BROKEN: dict[str, tuple[Breaking, str]] = {
    "empty": (empty_options, "opts.json is unreadable: it is empty"),
    "corrupt": (corrupt_options, "opts.json is unreadable: Unterminated string"),
    "senseless": (senseless_options, "opts.json is unreadable: MountType is not a text"),
    "oversized": (oversized_options, "opts.json is unreadable: File too large"),
    "unreadable": (unreadable_options, "opts.json is unreadable: Is a directory"),
    "linked": (linked_options, "opts.json is unreadable: Too many levels of symbolic links"),
    "missing": (no_data, "_data is missing"),
    "file": (data_that_is_a_file, "_data is not a directory"),
    "link": (data_that_is_a_link, "_data is not a directory"),
    "another": (another_in_its_place, "is in the place of this one"),
    "deleted": (deleted, "_data is missing"),
    "elsewhere": (link_in_its_place, "is not a directory"),
}


@pytest.mark.parametrize("restarted", [False, True])
def test_each_says_what_is_wrong_and_the_others_work(daemon: LiveDaemon, tmp_path: Path, restarted: bool) -> None:
    docker, volumes = daemon.docker, daemon.data_root / "volumes"
    docker("run", "--rm", "-v", "well:/v", "busybox", "sh", "-c", "echo kept > /v/note")
    for name, (breaking, _) in BROKEN.items():
        options = ["-o", "type=tmpfs", "-o", "device=tmpfs"] if "options" in breaking.__name__ else []
        docker("volume", "create", *options, name)
    if restarted:
        daemon.stop()  # after a SIGKILL, a new volume that is gone would be one whose creation never reached the disk
    for name, (breaking, _) in BROKEN.items():
        shutil.copytree(volumes / name, tmp_path / name)
        breaking(volumes / name)
    if restarted:
        daemon.start()

    assert docker("run", "--rm", "-v", "well:/v", "busybox", "cat", "/v/note").stdout == "kept\n"
    for name, (_, said) in BROKEN.items():
        refused = docker("run", "--rm", "-v", f"{name}:/v", "busybox", "true", code=None)
        assert refused.returncode in (125, 126, 127), name
        assert said in refused.stderr and "hush" not in refused.stderr, name
        health = json.loads(docker("volume", "inspect", name).stdout)[0]["Status"]["Health"]
        assert said in health, f"{name}: {health}"
    listed = Api(daemon, "1.47").ok("GET", "/volumes")
    for name, (_, said) in BROKEN.items():
        assert [line for line in listed["Warnings"] if line.startswith(f"volume {name}: ") and said in line], name
    assert not [line for line in listed["Warnings"] if "well" in line.split(":")[0]]

    for name in BROKEN:
        path = volumes / name
        path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tmp_path / name, path)
        docker("run", "--rm", "-v", f"{name}:/v", "busybox", "true")
        assert json.loads(docker("volume", "inspect", name).stdout)[0]["Status"]["Health"] == "ok", name
    assert daemon.volume_data("well").joinpath("note").read_text() == "kept\n"


def test_a_broken_volume_can_be_removed_and_harms_nobody(daemon: LiveDaemon) -> None:
    docker, volumes = daemon.docker, daemon.data_root / "volumes"
    docker("run", "--rm", "-v", "well:/v", "busybox", "sh", "-c", "echo kept > /v/note")
    for name, (breaking, _) in BROKEN.items():
        docker("volume", "create", name)
        breaking(volumes / name)
    removed = [name for name in BROKEN if name not in ("elsewhere", "another")]
    docker("volume", "rm", *removed)
    for name in removed:
        docker("volume", "create", name)
        docker("run", "--rm", "-v", f"{name}:/v", "busybox", "true")
    assert daemon.volume_data("well").joinpath("note").read_text() == "kept\n"
    (volumes / "elsewhere").unlink()
    docker("volume", "rm", "elsewhere", "another")
    assert daemon.volume_data("well").joinpath("note").read_text() == "kept\n"


def test_options_of_a_broken_volume_can_be_given_again(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "ram")
    empty_options(daemon.data_root / "volumes" / "ram")
    daemon.docker("run", "--rm", "-v", "ram:/v", "busybox", "true", code=125)
    daemon.orlop("volume", "update", "ram", "--opt", "o=size=2m")
    daemon.docker("run", "--rm", "-v", "ram:/v", "busybox", "true")
    assert not os.path.ismount(daemon.volume_data("ram"))
