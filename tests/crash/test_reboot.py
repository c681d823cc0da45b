"""A power cut: nothing runs any more, nothing is mounted, the exec root is empty. Only the data root is there."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon, wait_for
from support.leaks import find_leaks


def cut_the_power(daemon: LiveDaemon, pids: Sequence[int]) -> None:
    """What a reboot takes away, taken away. First the supervisors, so that none can write down an end."""
    daemon.kill()
    for pid in [*(int(process.split()[1]) for process in _processes(daemon)), *pids]:
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
    return [leak for leak in find_leaks([daemon.data_root, daemon.exec_root]) if leak.startswith("process")]


def test_after_a_power_cut_data_is_there_and_containers_start_by_their_policy(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    script = "echo $(date +%s%N) >> /data/log; sync; sleep 1000"
    for name, policy in (("always", "always"), ("once", "no")):
        daemon.docker(
            "run", "-d", "--name", name, "--restart", policy, "-v", f"{name}:/data", "busybox", "sh", "-c", script
        )
    for name in ("always", "once"):
        wait_for("the first line", lambda name=name: (daemon.volume_data(name) / "log").exists())
    pids = [daemon.inspect("container", name)["State"]["Pid"] for name in ("always", "once")]
    cut_the_power(daemon, pids)

    daemon.start()
    assert daemon.inspect("container", "once")["State"]["ExitCode"] == 255, "nobody saw how it ended"
    wait_for("the policy", lambda: daemon.inspect("container", "always")["State"]["Running"])
    wait_for("its second life", lambda: (daemon.volume_data("always") / "log").read_text().count("\n") == 2)
    assert (daemon.volume_data("once") / "log").read_text().count("\n") == 1
    assert disorder(daemon) == []
    daemon.docker("start", "once")
    assert disorder(daemon) == []
