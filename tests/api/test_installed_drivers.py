"""The driver of docs/writing-a-driver.md, installed as a package, tried, and used by the stock CLI."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.kernel.mounts import is_mount_point
from support.daemon import CHECKOUT, LiveDaemon, orlop_command, run_command
from support.installed import install
from support.lent_driver import LentDriver

PAGE = CHECKOUT / "docs/writing-a-driver.md"
NAMES = ("data", "one", "two", "three", "empty", "used", "other", "live")
BROKEN = "raise RuntimeError('out of order')\n"


def example() -> str:
    (found,) = re.findall(r"```python\n(\"\"\".*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return install(tmp_path / "site", "image-volumes", {"image_volumes": example()}, entry_points())


def entry_points() -> dict[str, str]:
    (table,) = re.findall(r'entry-points."orlop.volume_drivers"\]\n(.*?)\n```', PAGE.read_text(), re.DOTALL)
    name, value = str(table).split(" = ")
    return {name: value.strip('"')}


@pytest.fixture
def disks(tmp_path: Path, needs_root: None) -> Path:
    folder = tmp_path / "disks"
    folder.mkdir()
    for name in NAMES:
        with (folder / f"{name}.img").open("wb") as file:
            file.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", folder / f"{name}.img"], check=True)
    return folder


def try_driver(site: Path, *words: str, code: int = 0) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": f"{CHECKOUT}/src:{site}"}
    done = run_command([*orlop_command(), "driver-test", *words], code=code, env=environment, cwd=site)
    return done.stdout + done.stderr


def test_the_example_is_short_and_keeps_the_contract(site: Path, disks: Path) -> None:
    assert len(example().splitlines()) < 80
    words = ("--option", f"image={disks}/{{name}}.img", "--trait", "elsewhere")
    said = try_driver(site, "image_volumes", *words)
    assert "abilities: LastingUses, Removal" in said and "image keeps the contract" in said, said
    told = json.loads(try_driver(site, "image_volumes:ImageVolumes", *words, "--format", "json"))
    assert told["Suites"] == ["VolumeDriver", "Removal", "LastingUses"]
    assert (told["Failed"], told["Skipped"]) == (0, 0) and told["Passed"] == len(told["Outcomes"]) > 20


def test_a_driver_that_breaks_promises_is_told_which_and_where(site: Path, disks: Path) -> None:
    forgetful = example().replace('(self.uses / f"{name}:{use_id}").touch()', "pass")
    assert forgetful != example()
    (site / "test_driver.py").write_text(forgetful)  # a name that pytest has thoughts of its own about
    words = ("--option", f"image={disks}/{{name}}.img", "--trait", "elsewhere")
    said = try_driver(site, "test_driver", *words, code=1)
    assert "FAIL  a use outlives the daemon\n" in said and "image does not keep the contract yet" in said
    assert re.search(r"in the suite: .*still attached.* \(volumes\.py:\d+, test_a_use_outlives", said), said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "module nowhere: there is no such module"),
        (("json",), "module json: no class in it is a volume driver"),
        (("image_volumes:Nothing",), "there is nothing of that name that can be called"),
        (("image_volumes:StoredVolume",), "making it failed: TypeError: "),
        (("broken_volumes",), "importing it failed: RuntimeError: out of order (" ),
        (("image_volumes:re.compile",), "making it failed: TypeError: "),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_said(site: Path, words: tuple[str, ...], said: str) -> None:
    (site / "broken_volumes.py").write_text(BROKEN)
    told = try_driver(site, *words, code=2)
    assert said in told and len(told.splitlines()) == 1, told


def test_a_container_uses_an_installed_driver_and_a_broken_one_harms_nobody(
    site: Path, disks: Path, make_daemon: Callable[..., LiveDaemon]
) -> None:
    install(site, "broken-volumes", {"broken_volumes": BROKEN}, {"broken": "broken_volumes:Driver"})
    daemon = make_daemon(environment={"PYTHONPATH": f"{CHECKOUT}/src:{site}"})
    daemon.docker("volume", "create", "-d", "image", "-o", f"image={disks}/data.img", "data")
    keep = ("run", "--rm", "--network", "none", "-v", "data:/d", "busybox", "sh", "-c")
    daemon.docker(*keep, "echo kept > /d/note")
    daemon.docker("run", "-d", "--name", "user", "-v", "data:/d", "busybox", "sleep", "1000")
    daemon.restart()
    assert daemon.docker("exec", "user", "cat", "/d/note").stdout == "kept\n"
    assert "image" in daemon.docker("info", "--format", "{{.Plugins.Volume}}").stdout
    told = daemon.docker("info").stderr + daemon.docker("info").stdout
    assert "volume driver broken of broken-volumes 1.0 is not loaded: RuntimeError: out of order" in told
    refused = daemon.docker("volume", "create", "-d", "broken", "other", code=None)
    assert refused.returncode and "the volume driver broken is not loaded: RuntimeError: out of order" in refused.stderr
    daemon.docker("rm", "-f", "user")
    daemon.docker("volume", "rm", "data")
    refused = daemon.docker("volume", "create", "-d", "image", "data", code=None)
    assert "it takes one option, a path" in refused.stderr
    daemon.docker("volume", "create", "-d", "image", "-o", f"image={disks}/absent.img", "absent")
    started = daemon.docker("run", "--rm", "-v", "absent:/d", "busybox", "true", code=None)
    assert started.returncode == 125 and "absent.img is not there" in started.stderr


def test_a_volume_whose_driver_breaks_is_kept(site: Path, disks: Path, make_daemon: Callable[..., LiveDaemon]) -> None:
    daemon = make_daemon(environment={"PYTHONPATH": f"{CHECKOUT}/src:{site}"})
    daemon.docker("volume", "create", "-d", "image", "-o", f"image={disks}/data.img", "--label", "a=b", "data")
    daemon.docker("run", "--rm", "--network", "none", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/note")
    daemon.docker("run", "-d", "--name", "user", "-v", "data:/d", "busybox", "sleep", "1000")
    (site / "image_volumes.py").write_text(BROKEN)
    daemon.restart()
    assert daemon.docker("exec", "user", "cat", "/d/note").stdout == "kept\n"
    daemon.docker("rm", "-f", "user")
    refused = daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "true", code=125)
    assert "the volume driver image is not loaded: RuntimeError: out of order" in refused.stderr
    assert "not loaded" in daemon.inspect("volume", "data")["Status"]["Health"]
    (site / "image_volumes.py").write_text(example())
    daemon.restart()
    shown = daemon.inspect("volume", "data")
    assert shown["Labels"] == {"a": "b"} and shown["Options"] == {"image": f"{disks}/data.img"}
    read = ("run", "--rm", "--network", "none", "-v", "data:/d", "busybox", "cat", "/d/note")
    assert daemon.docker(*read).stdout == "kept\n"


def test_docker_and_podman_are_served_an_installed_driver_too(site: Path, disks: Path, tmp_path: Path) -> None:
    plugin = LentDriver("image", tmp_path / "image.sock")
    plugin.environment = {"PYTHONPATH": f"{CHECKOUT}/src:{site}"}
    try:
        plugin.start()
        plugin.called("Create", Name="data", Opts={"image": f"{disks}/data.img"})
        place = Path(plugin.called("Mount", Name="data", ID="c1")["Mountpoint"])
        (place / "note").write_text("kept")
        plugin.kill()
        plugin.start()
        assert (place / "note").read_text() == "kept"
        plugin.called("Unmount", Name="data", ID="c1")
        assert not is_mount_point(place)
        plugin.called("Remove", Name="data")
        assert plugin.called("List")["Volumes"] == []
    finally:
        plugin.close()
