"""A power cut: nothing runs any more, nothing is mounted, the exec root is empty. Only the data root is there."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon, wait_for
from support.leaks import find_leaks


def cut_the_power(daemon: LiveDaemon, pids: Sequence[int]) -> None:
    """What a reboot takes away, taken away. First the supervisors, so that none can write down an end."""
    daemon.kill()
    for pid in [*(int(process.split()[1]) for process in _processes(daemon)), *pids]:
        with suppress(ProcessLookupError):  # it ended with the daemon
            os.kill(pid, signal.SIGKILL)
    wait_for("everything to have ended", lambda: not _processes(daemon))
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split()[4]
        if f"{target}/".startswith((f"{daemon.data_root}/", f"{daemon.exec_root}/")):
            subprocess.run(["umount", "-l", target], check=True)
    subprocess.run(["ip", "link", "delete", daemon.bridge], check=False, capture_output=True)
    for entry in daemon.exec_root.iterdir():
        shutil.rmtree(entry)


def _processes(daemon: LiveDaemon) -> list[str]:
    """Those whose command line names the daemon's places. Any program of this machine may have a mount namespace that
    copied the daemon's mounts, and none of them is ours to kill."""
    leaks = find_leaks([daemon.data_root, daemon.exec_root])
    return [leak for leak in leaks if leak.startswith("process") and "in a mount namespace of its own" not in leak]


def lines(log: Path) -> int:
    """A file is there before anything is in it."""
    return log.read_text().count("\n") if log.exists() else 0


def test_after_a_power_cut_data_is_there_and_containers_start_by_their_policy(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    script = "echo $(date +%s%N) >> /data/log; sync /data/log; sleep 1000"
    for name, policy in (("always", "always"), ("once", "no")):
        daemon.docker(
            "run", "-d", "--name", name, "--restart", policy, "-v", f"{name}:/data", "busybox", "sh", "-c", script
        )
    for name in ("always", "once"):
        wait_for("the first line", lambda name=name: lines(daemon.volume_data(name) / "log") == 1)
    pids = [daemon.inspect("container", name)["State"]["Pid"] for name in ("always", "once")]
    cut_the_power(daemon, pids)

    daemon.start()
    assert daemon.inspect("container", "once")["State"]["ExitCode"] == 255, "nobody saw how it ended"
    wait_for("the policy", lambda: daemon.inspect("container", "always")["State"]["Running"])
    wait_for("its second life", lambda: lines(daemon.volume_data("always") / "log") == 2)
    assert lines(daemon.volume_data("once") / "log") == 1
    assert disorder(daemon) == []
    daemon.docker("start", "once")
    assert disorder(daemon) == []


def test_after_a_power_cut_volumes_that_are_mounted_are_mounted_again(make_daemon: DaemonMaker, tmp_path: Path) -> None:
    """Memory is empty, a directory of the host and an image file have what was written; nobody counts who used them."""
    daemon = make_daemon()
    (tmp_path / "host").mkdir()
    forms = {
        "memory": ["type=tmpfs", "device=tmpfs", "o=size=1m"],
        "directory": ["type=none", f"device={tmp_path / 'host'}", "o=bind"],
        "image": ["size=16m", "uid=5"],
    }
    for name, options in forms.items():
        daemon.docker("volume", "create", *(word for option in options for word in ("--opt", option)), name)
    mounts = [word for name in forms for word in ("-v", f"{name}:/{name}")]
    script = "for v in memory directory image; do echo x >> /$v/log; done; sleep 1000"
    daemon.docker("run", "-d", "--name", "one", *mounts, "busybox", "sh", "-c", script)
    wait_for("the last line", lambda: lines(daemon.volume_data("image") / "log") == 1)
    for place in (daemon.volume_data("image"), daemon.data_root, tmp_path):
        subprocess.run(["sync", "-f", place], check=True)
    cut_the_power(daemon, [daemon.inspect("container", "one")["State"]["Pid"]])

    daemon.start()
    assert not any(os.path.ismount(daemon.volume_data(name)) for name in forms)
    daemon.docker("start", "one")
    count = 'for v in memory directory image; do wc -l < "/$v/log"; done; stat -c %u /image'
    wait_for("its second life", lambda: lines(daemon.volume_data("memory") / "log") == 1)
    wait_for(
        "all of it", lambda: daemon.docker("exec", "one", "sh", "-c", count).stdout.split() == ["1", "2", "2", "5"]
    )
    daemon.docker("rm", "-f", "one")
    assert not any(os.path.ismount(daemon.volume_data(name)) for name in forms)
    daemon.docker("volume", "rm", *forms)
    assert disorder(daemon) == []
