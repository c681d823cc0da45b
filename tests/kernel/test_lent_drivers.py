"""`orlop plugin serve` as a process: started beside others, stopped, killed at any moment."""

import os
import random
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.daemon.lend import Loan
from support.daemon import CHECKOUT, LiveDaemon, orlop_command, run_command, wait_for
from support.lent_driver import LentDriver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PYTHON = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}


@pytest.fixture
def make_plugin(tmp_path: Path) -> Iterator[Callable[..., LentDriver]]:
    made: list[LentDriver] = []

    def make(driver: str = "local", root: Path | None = None) -> LentDriver:
        plugin = LentDriver(driver, tmp_path / f"{len(made)}.sock")
        plugin.root = root or plugin.root
        made.append(plugin)
        return plugin

    yield make
    for plugin in made:
        plugin.close()


@pytest.fixture
def plugin(make_plugin: Callable[..., LentDriver]) -> LentDriver:
    plugin = make_plugin()
    plugin.start()
    return plugin


def serve(*arguments: str | Path) -> str:
    """Why it does not start."""
    return run_command([*orlop_command(), "plugin", "serve", *arguments], code=1, env=PYTHON).stderr


def test_it_ends_well_and_leaves_what_is_mounted(plugin: LentDriver) -> None:
    assert stat.S_IMODE(plugin.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(plugin.exec_root.stat().st_mode) == 0o711
    plugin.called("Create", Name="data", Opts={"size": "20m"})
    plugin.called("Mount", Name="data", ID="c1")
    mounted = plugin.mounts()
    assert len(mounted) == 1
    assert plugin.stop() == 0
    assert not plugin.socket.exists() and plugin.mounts() == mounted
    plugin.start()
    assert plugin.called("Get", Name="data")["Volume"]["Mountpoint"] == mounted[0]
    plugin.called("Unmount", Name="data", ID="c1")
    assert plugin.mounts() == []


def test_one_root_has_one_server(plugin: LentDriver, tmp_path: Path) -> None:
    said = serve("--driver", "local", "--root", plugin.root, "--socket", tmp_path / "other")
    assert f"it is in use by pid {plugin.pid}" in said
    said = serve("--driver", "local", "--root", tmp_path / "other", "--socket", plugin.socket)
    assert "another daemon answers there" in said
    plugin.stop()
    said = serve("--driver", "cloud", "--root", plugin.root, "--socket", plugin.socket)
    assert "it is the driver local's" in said


def test_a_daemon_and_a_plugin_keep_off_each_others_roots(
    plugin: LentDriver, make_daemon: Callable[..., LiveDaemon]
) -> None:
    plugin.stop()
    command = [*orlop_command(), "daemon", "--data-root", plugin.root, "--exec-root", plugin.home / "exec"]
    said = run_command([*command, "--host", f"unix://{plugin.home}/s"], code=1, env=PYTHON).stderr
    assert "for other engines (orlop plugin serve)" in said
    daemon = make_daemon()
    said = serve("--root", daemon.data_root, "--socket", plugin.socket)
    assert "it is in use by pid" in said
    daemon.stop()
    assert "it is an Orlop daemon's" in serve("--root", daemon.data_root, "--socket", plugin.socket)


def test_what_cannot_be_served_is_told(tmp_path: Path) -> None:
    said = serve("--driver", "floppy", "--root", tmp_path / "root", "--socket", tmp_path / "s")
    assert "driver floppy: there is none of that name. There are: " in said and "local" in said
    assert not (tmp_path / "s").exists()
    shutil.rmtree(Loan("floppy", root=str(tmp_path / "root")).exec_root.path)
    (tmp_path / "file").write_text("precious")
    assert "no socket" in serve("--root", tmp_path / "root2", "--socket", tmp_path / "file")
    plugin = LentDriver("local", tmp_path / "s")
    plugin.root = tmp_path / "root"
    plugin.start()  # a driver that there is not leaves no mark
    plugin.close()
    assert "directory with --root" in serve("--root", tmp_path, "--socket", tmp_path / "s")
    assert (tmp_path / "file").read_text() == "precious"


def test_secrets_are_kept_on_the_disk_of_the_plugin(plugin: LentDriver, tmp_path: Path) -> None:
    def secret(*arguments: str | Path, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_command([*orlop_command(), "secret", *arguments], code=code, stdin=stdin, env=PYTHON)

    on = ("--root", plugin.root)
    assert secret("create", *on, "key", "-", stdin="planted-value").stdout == "key\n"
    assert "exists" in secret("create", *on, "key", "-", stdin="x", code=1).stderr
    assert secret("ls", *on, "-q").stdout == "key\n"
    refused = plugin.refused("Create", Name="data", Opts={"type": "tmpfs", "device": "tmpfs", "o": "secret://gone"})
    assert "gone" in refused and "planted-value" not in refused + plugin.logs()
    assert "no root of orlop plugin serve" in secret("ls", "--root", tmp_path, code=1).stderr
    assert secret("rm", *on, "key").stdout == "key\n"
    assert "planted-value" not in "".join(
        path.read_text(errors="replace") for path in plugin.root.rglob("*") if path.is_file()
    )


def test_killed_at_any_moment_it_knows_its_mounts(plugin: LentDriver) -> None:
    """Of what was answered nothing is lost, and what nobody was told of is let go of."""
    chance = random.Random(7)
    names = ["one", "two"]
    for name in names:
        plugin.called("Create", Name=name, Opts={"size": "20m"})
    held: dict[str, int] = dict.fromkeys(names, 0)
    answered = 0

    def use(name: str) -> None:
        nonlocal answered
        with suppress(OSError, ValueError):
            while True:
                answered += 1
                # Counted before it is asked to let go, and after it said that it holds: never too high.
                if held[name] < 2:
                    plugin.called("Mount", Name=name, ID="c1")
                    held[name] += 1
                else:
                    held[name] -= 1
                    plugin.called("Unmount", Name=name, ID="c1")

    for _ in range(5):
        threads = [threading.Thread(target=use, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        enough = answered + chance.randint(2, 30)
        wait_for("some answers", lambda: answered >= enough)  # noqa: B023
        plugin.kill()
        for thread in threads:
            thread.join()
        plugin.start()
        for name in names:
            assert plugin.called("Get", Name=name)["Volume"]["Status"]["Mounts"] >= held[name]
            assert not held[name] or any(f"/{name}/" in mount for mount in plugin.mounts())
    for name in names:
        while plugin.called("Get", Name=name)["Volume"]["Status"]["Mounts"]:
            plugin.called("Unmount", Name=name, ID="c1")
        plugin.called("Remove", Name=name)
    wait_for("all to be let go of", lambda: not plugin.mounts())


def test_it_waits_for_a_call_that_is_under_way(plugin: LentDriver) -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(plugin.call("VolumeDriver.Create", CREATE)[0]))
    thread.start()
    wait_for("the call", lambda: any(plugin.root.glob("volumes/.staging/*")) or answers)
    os.kill(plugin.pid, signal.SIGTERM)
    thread.join()
    assert answers == [200] and plugin.stop() == 0


CREATE = {"Name": "large", "Opts": {"size": "2g"}}
