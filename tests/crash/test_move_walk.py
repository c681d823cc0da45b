"""The daemon is killed at every step of moving a volume that is in use: it is the old one or the new one, whole, and
its containers go on with that, the one that stood still as the one that was stopped for it."""

import json

import pytest

from crash.house import disorder
from support.daemon import LiveDaemon, Result, wait_for

IDLE = ("--name", "idle", "-v", "data:/v", "busybox", "sleep", "1000")
BUSY = ("--name", "busy", "--stop-signal", "KILL", "-v", "data:/v", "busybox", "sh", "-c")
HOLD = "exec 3>>/v/held; echo began >> /v/begun; while :; do sleep 1000; done"


@pytest.fixture(scope="module")
def ship(our_daemon: LiveDaemon) -> LiveDaemon:
    return our_daemon


def prepare(ship: LiveDaemon) -> None:
    ship.docker("run", "-d", "--network", "none", *IDLE)
    ship.docker("run", "-d", "--network", "none", *BUSY, HOLD)
    ship.docker("exec", "idle", "sh", "-c", "mkdir /v/d && echo kept > /v/d/note && until test -s /v/begun; do :; done")


def move(ship: LiveDaemon) -> Result:
    return ship.orlop("volume", "move", "data", "--driver", "local", "-o", "size=32m", "--stop", code=None)


def is_right(ship: LiveDaemon) -> None:
    """Whichever it is, it is whole, both containers have it, and nothing else is in sight."""
    assert ship.docker("volume", "ls", "-q").stdout == "data\n"
    wait_for("the stopped one to be back", lambda: ship.inspect("container", "busy")["State"]["Status"] == "running")
    wait_for("all to go on", lambda: "(Frozen)" not in ship.docker("ps").stdout)
    data = ship.volume_data("data")
    for number, name in enumerate(("idle", "busy")):
        ship.docker("exec", name, "sh", "-c", f"test $(cat /v/d/note) = kept && echo {name} > /v/d/{number}")
        assert (data / "d" / str(number)).read_text() == f"{name}\n", "it has another volume than the one there is"
    is_limited = ship.inspect("volume", "data")["Options"] == {"size": "32m"}
    record = json.loads((data.parent / "orlop.json").read_text())
    assert (record.get("options") or {}).get("size", "") == ("32m" if is_limited else "")
    assert disorder(ship) == []


def clear(ship: LiveDaemon) -> None:
    ship.docker("rm", "-f", "idle", "busy")
    ship.docker("volume", "rm", "data")
    while ship.orlop("volume", "purge", "--force", "data", code=None).returncode == 0:
        pass


# What comes after a step comes before the next one; before the copy there is nothing, and nobody stands still.
POINTS = (*(f"volume.move.{step}/before" for step in ("copy", "give", "retire", "name")), "outcome/commit")


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step_of_a_move(point: str, ship: LiveDaemon) -> None:
    prepare(ship)
    idle = ship.inspect("container", "idle")["State"]["Pid"]
    ship.stop()
    ship.start(environment={"ORLOP_FAULT": f"volume.move/{point}=kill"})
    move(ship)
    assert ship.wait_for_exit() == -9, "the daemon survived"
    ship.start()
    is_right(ship)
    assert ship.inspect("container", "idle")["State"]["Pid"] == idle, "it noticed"
    clear(ship)
