"""Volumes moved to other storage: whole, in place of the old, their containers going on; or nothing has happened."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.asking import Api
from support.daemon import LiveDaemon, Result, orlop_command, wait_for
from support.iscsi_target import iscsi_target, needs_san

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


@pytest.fixture
def far(tmp_path: Path) -> Path:
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def cloud(far: Path) -> tuple[str, ...]:
    return "--driver", "cloud", "-o", "type=alias", "-o", f"rclone.remote={far}"


def is_as_it_was(ship: LiveDaemon) -> None:
    """And nothing half made is left."""
    assert read(ship) == WHOLE
    assert ship.inspect("volume", "data")["Options"] is None
    assert [path.name for path in (ship.data_root / "volumes").iterdir() if path.name[0] != "."] == ["data"]
    assert "(Frozen)" not in ship.docker("ps").stdout


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


def test_running_containers_go_on_with_the_new_storage_and_notice_nothing(daemon: LiveDaemon, far: Path) -> None:
    plain = "mkdir /v/sub && echo kept > /v/a && echo part > /v/sub/b"
    daemon.docker("run", "-d", "--name", "writer", "-v", "data:/v", "busybox", "sh", "-c", f"{plain}; sleep 1000")
    wait_for("the data", lambda: "part\n" in daemon.docker("exec", "writer", "cat", "/v/sub/b", code=None).stdout)
    part = "type=volume,source=data,target=/p,volume-subpath=sub,readonly"
    daemon.docker("run", "-d", "--name", "reader", "--mount", part, *SLEEP)
    pids = [daemon.inspect("container", name)["State"]["Pid"] for name in ("writer", "reader")]
    moved = result_of(daemon, *cloud(far))
    assert sorted(moved["Live"]) == ["reader", "writer"] and not moved["Restarted"]
    assert (far / "sub/b").read_text() == "part\n"
    daemon.docker("exec", "writer", "sh", "-c", "echo more > /v/sub/c")
    assert daemon.docker("exec", "reader", "cat", "/p/b", "/p/c").stdout == "part\nmore\n"
    assert "Read-only" in daemon.docker("exec", "reader", "touch", "/p/d", code=1).stderr
    assert daemon.inspect("container", "writer")["Mounts"][0]["Driver"] == "cloud"
    back = result_of(daemon, "--driver", "local")
    assert sorted(back["Live"]) == ["reader", "writer"]
    assert daemon.docker("exec", "reader", "cat", "/p/b", "/p/c").stdout == "part\nmore\n"
    daemon.docker("exec", "writer", "sh", "-c", "echo home > /v/d")
    assert (daemon.volume_data("data") / "d").read_text() == "home\n" and not (far / "d").exists()
    assert pids == [daemon.inspect("container", name)["State"]["Pid"] for name in ("writer", "reader")]
    assert not list(daemon.exec_root.glob("programs/cloud/*"))
    daemon.docker("restart", "-t", "0", "writer")
    assert daemon.docker("exec", "writer", "cat", "/v/d").stdout == "home\n"
    until = f"{time.time():.9f}"  # "0s" would be the beginning of this second
    said = daemon.docker("events", "--since", "0", "--until", until, "--filter", "event=move", "--format", "{{json .}}")
    told = [json.loads(line)["Actor"]["Attributes"] for line in said.stdout.splitlines()][-2:]
    assert [(each["oldDriver"], each["driver"]) for each in told] == [("local", "cloud"), ("cloud", "local")]


def test_who_has_files_open_is_named_and_stopped_only_if_that_is_allowed(daemon: LiveDaemon) -> None:
    fill(daemon)
    hold = ("--stop-signal", "KILL", "-v", "data:/v", "busybox", "sh", "-c", "exec 3>>/v/held; echo >&3; sleep 1000")
    daemon.docker("run", "-d", "--rm", "--name", "holder", *hold)
    wait_for("it to hold", lambda: (daemon.volume_data("data") / "held").exists())
    shown = move(daemon, "--driver", "local", "-o", "size=32m", "--dry-run").stdout
    assert "holder would be stopped for a moment: s" in shown and "has /v/held open" in shown
    refused = move(daemon, "--driver", "local", "-o", "size=32m", code=1).stderr
    assert "holder: s" in refused and "Allow it with --stop" in refused
    assert daemon.inspect("volume", "data")["Options"] is None
    began = daemon.inspect("container", "holder")["State"]["StartedAt"]
    moved = result_of(daemon, "--driver", "local", "-o", "size=32m", "--stop")
    assert moved["Restarted"] == ["holder"] and not moved["Failures"]
    state = daemon.inspect("container", "holder")["State"]
    assert state["Running"] and state["StartedAt"] != began
    wait_for("it to hold", lambda: daemon.docker("exec", "holder", "wc", "-l", "/v/held").stdout == "2 /v/held\n")
    daemon.docker("rm", "-f", "holder")


def test_a_target_that_gets_full_leaves_the_volume_as_it_was(daemon: LiveDaemon) -> None:
    fill(daemon)
    daemon.docker("run", "-d", "--name", "idle", "-v", "data:/v", *SLEEP)
    daemon.docker("exec", "idle", "dd", "if=/dev/urandom", "of=/v/big", "bs=1M", "count=24")
    assert "No space left" in move(daemon, "--driver", "local", "-o", "size=16m", code=1).stderr
    daemon.orlop("volume", "ls", "--size")  # which counts
    refused = move(daemon, "--driver", "local", "-o", "size=16m", code=1).stderr
    assert "the target has room for " in refused and "and the volume holds 24" in refused
    daemon.docker("exec", "idle", "sh", "-c", "echo > /v/big")
    is_as_it_was(daemon)


def test_a_move_that_is_interrupted_leaves_the_volume_as_it_was(daemon: LiveDaemon) -> None:
    fill(daemon)
    daemon.docker("run", "-d", "--name", "idle", "-v", "data:/v", *SLEEP)
    many = "mkdir /v/many; cd /v/many; seq 30000 | xargs touch"  # which takes seconds, however fast the disk is
    daemon.docker("exec", "idle", "sh", "-c", many)
    command = [*orlop_command(), "volume", "move", "data", "--driver", "local", "-o", "size=200m"]
    moving = subprocess.Popen(command, env=daemon.orlop_environment, stderr=subprocess.PIPE)
    hidden = wait_for("the target", lambda: list((daemon.data_root / "volumes").glob("data.moving-*/_data/*")))
    for verb in (("rename", "data", "other"), ("update", "--label", "a=b", "data")):
        assert "it is being moved" in daemon.orlop("volume", *verb, code=1).stderr
    moving.send_signal(signal.SIGINT)
    moving.communicate(timeout=20)
    assert moving.returncode
    wait_for("it to go", lambda: not hidden[0].parent.parent.exists())
    assert daemon.docker("exec", "idle", "sh", "-c", "ls /v/many | wc -l; rm -r /v/many").stdout == "30000\n"
    is_as_it_was(daemon)


def test_what_the_target_cannot_keep_is_named_and_lost_only_if_that_is_allowed(daemon: LiveDaemon, far: Path) -> None:
    fill(daemon)
    refused = move(daemon, *cloud(far), code=1).stderr
    assert "move data: copy f: the new storage keeps no devices" in refused and "--lose" in refused
    assert "What was copied is left in the target" in refused
    is_as_it_was(daemon)
    other = far / "other"
    other.mkdir()
    lossy = result_of(daemon, *cloud(other), "--lose", "all")
    assert {each["Path"] for each in lossy["LeftOut"]} == {"soft", "f"} and "symbolic links" in lossy["Lost"]
    assert sorted(path.name for path in other.iterdir() if path.name[0] != ".") == ["big", "d"]
    assert (other / "d/hard").read_text() == "kept\n"


def test_a_target_that_holds_something_or_is_in_the_volume_is_refused(daemon: LiveDaemon, far: Path) -> None:
    (far / "theirs").write_text("precious\n")
    fill(daemon)
    refused = move(daemon, *cloud(far), code=1).stderr
    assert "holds something already: theirs" in refused and "may be what a move that was cut off" in refused
    assert "What was copied is left" not in refused, "nothing was"
    assert (far / "theirs").read_text() == "precious\n"
    daemon.docker("run", "--rm", "-v", "data:/v", "busybox", "mkdir", "/v/d/empty")
    within = f"device={daemon.volume_data('data')}/d/empty"
    refused = move(daemon, "--driver", "local", "-o", "type=none", "-o", "o=bind", "-o", within, code=1).stderr
    assert "the target is a part of the volume" in refused
    is_as_it_was(daemon)


def test_an_owner_that_is_asked_for_holds_and_what_can_never_be_is_refused(daemon: LiveDaemon, modern: Api) -> None:
    fill(daemon)
    move(daemon, "--driver", "local", "-o", "uid=1000", "-o", "mode=0750")
    top = daemon.volume_data("data").stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o777) == (1000, 0, 0o750)
    for more, why in (
        (("--driver", "local", "-o", "uid=1000", "-o", "mode=0750"), "already"),
        (("--driver", "nowhere"), "nowhere"),
        (("--driver", "local", "-o", "odd=1"), "odd"),
        (("--driver", "local", "-o", "type=tmpfs", "-o", "device=tmpfs"), "memory"),
        ((), "--driver"),
    ):
        assert why in move(daemon, *more, code=None).stderr
    assert modern.call("POST", "/orlop/v1/volumes/nothing/move", {"Driver": "local"})[0] == 404
    assert read(daemon) == WHOLE


@needs_san
def test_a_device_of_a_san_and_encrypted_storage_take_a_volume_in_use_as_well(
    daemon: LiveDaemon, tmp_path: Path
) -> None:
    fill(daemon)
    daemon.orlop("secret", "create", "--force", "vault", stdin="key")
    daemon.docker("run", "-d", "--name", "idle", "-v", "data:/v", *SLEEP)
    with iscsi_target(tmp_path, 1) as target:
        san = [word for key, value in target.options(1).items() for word in ("-o", f"{key}={value}")]
        for number, where in enumerate(
            (["san", *san], ["encrypted", "-o", "driver=local", "-o", "key=secret://vault"], ["local"])
        ):
            assert result_of(daemon, "--driver", *where)["Live"] == ["idle"]
            assert read(daemon) == WHOLE
            daemon.docker("exec", "idle", "sh", "-c", f"test $(cat /v/d/a) = kept && echo {number} >> /v/d/by-idle")
    assert (daemon.volume_data("data") / "d/by-idle").read_text() == "0\n1\n2\n"
    daemon.docker("rm", "-f", "idle")
