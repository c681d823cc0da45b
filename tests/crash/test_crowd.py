"""Many clients at once, and the daemon dies among them: afterwards the house is in order all the same."""

import random
import subprocess
import time

from conftest import DaemonMaker
from crash.house import disorder
from support.daemon import LiveDaemon, wait_for

CLIENTS = 12
ROUNDS = 4


def _command(number: int, source: random.Random) -> list[str]:
    volume = f"shared{source.randrange(3)}:/data"
    write = f"echo {number} >> /data/log"
    return source.choice(
        [
            ["run", "--rm", "-v", volume, "busybox", "sh", "-c", write],
            ["run", "--rm", "--network", "none", "-v", "/anonymous", "busybox", "sh", "-c", "echo x > /anonymous/x"],
            ["run", "-d", "-v", volume, "busybox", "sleep", "1000"],
            ["create", "-v", f"fresh{number}:/etc", "busybox", "true"],
            ["volume", "create"],
            ["volume", "prune", "-f"],
            ["container", "prune", "-f"],
        ]
    )


def _start_crowd(daemon: LiveDaemon, source: random.Random) -> list["subprocess.Popen[bytes]"]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [daemon.spawn(*_command(number, source), **quiet) for number in range(CLIENTS)]


def test_the_house_is_in_order_after_a_death_in_a_crowd(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    source = random.Random(2026)
    daemon.docker("run", "-d", "--name", "bystander", "-v", "precious:/data", "busybox", "sleep", "10000")
    (daemon.volume_data("precious") / "note").write_text("kept")
    before = daemon.inspect("container", "bystander")["State"]["Pid"]
    for _ in range(ROUNDS):
        crowd = _start_crowd(daemon, source)
        time.sleep(source.uniform(0.1, 1.5))  # not waiting for anything: dying at some moment is the test
        daemon.kill()
        for client in crowd:
            client.wait(60)
        daemon.start()
        wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
        wait_for("the ends of containers to be handled", lambda: not disorder(daemon), 20)
        assert daemon.inspect("container", "bystander")["State"]["Pid"] == before
        assert (daemon.volume_data("precious") / "note").read_text() == "kept"


def test_a_crowd_gets_what_it_asks_for(make_daemon: DaemonMaker) -> None:
    daemon = make_daemon()
    script = "for i in 1 2 3; do echo line >> /data/log; done"
    crowd = [
        daemon.spawn("run", "--rm", "-v", "shared:/data", "busybox", "sh", "-c", script, stderr=subprocess.PIPE)
        for _ in range(20)
    ]
    for client in crowd:
        _, complaint = client.communicate(timeout=120)
        assert client.returncode == 0, complaint.decode()
    assert (daemon.volume_data("shared") / "log").read_text() == "line\n" * 60
    assert daemon.docker("ps", "-aq").stdout == ""
    assert disorder(daemon) == []
