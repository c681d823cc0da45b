"""Volumes moved to other storage: whole, in place of the old, their containers going on; or nothing has happened."""

import json
from typing import Any

from support.daemon import LiveDaemon, Result

SLEEP = ("busybox", "sleep", "1000")


def fill(ship: LiveDaemon, name: str = "data") -> None:
    script = (
        "mkdir d; echo kept > d/a; ln d/a d/hard; ln -s d/a soft; mkfifo f; chown 7:8 d; chmod 2750 d; echo x > big"
    )
    ship.docker("run", "--rm", "--network", "none", "-v", f"{name}:/v", "-w", "/v", "busybox", "sh", "-c", script)


def read(ship: LiveDaemon, name: str = "data") -> str:
    script = "cat d/a d/hard soft && stat -c '%u %g %a' d && test -p f && ls"
    command = ("run", "--rm", "--network", "none", "-v", f"{name}:/v", "-w", "/v", "busybox", "sh", "-c", script)
    return ship.docker(*command).stdout


WHOLE = "kept\nkept\nkept\n7 8 2750\nbig\nd\nf\nsoft\n"


def move(ship: LiveDaemon, *arguments: str, code: int | None = 0, name: str = "data") -> Result:
    return ship.orlop("volume", "move", name, *arguments, code=code)


def result_of(ship: LiveDaemon, *arguments: str, name: str = "data") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(move(ship, *arguments, "--format", "json", name=name).stdout)
    return found


def test_a_volume_gets_a_limit_and_keeps_its_data_id_age_and_labels(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "--label", "tier=gold", "data")
    fill(daemon)
    before = daemon.inspect("volume", "data")
    moved = result_of(daemon, "--driver", "local", "-o", "size=32m", "--label", "more=yes")
    after = daemon.inspect("volume", "data")
    assert read(daemon) == WHOLE
    assert after["Options"] == {"size": "32m"} and after["Labels"] == {"tier": "gold", "more": "yes"}
    assert after["CreatedAt"] == before["CreatedAt"]
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    daemon.orlop("volume", "restore", moved["Retired"], "--as", "before")
    assert read(daemon, "before") == WHOLE
    assert daemon.inspect("volume", "before")["Options"] is None
