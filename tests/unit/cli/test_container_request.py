"""The flags of `run` and `create` as the body of the API's create call."""

from pathlib import Path
from typing import Any

import pytest

from support.fake_daemon import Run

CREATED = {"POST /containers/create": (201, {"Id": "1" * 64, "Warnings": []})}


def body_of(orlop: Run, *flags: str) -> dict[str, Any]:
    outcome = orlop("create", *flags, "busybox", "sh", "-c", "true", answers=CREATED)
    assert outcome.status == 0, outcome.err
    assert outcome.out == "1" * 64 + "\n"
    body: dict[str, Any] = outcome.fake.last.json
    assert (body["Image"], body["Cmd"]) == ("busybox", ["sh", "-c", "true"])
    return body


def test_without_flags_nothing_is_asked_for(orlop: Run) -> None:
    body = body_of(orlop)
    assert body["AttachStdout"] and body["AttachStderr"] and not body["AttachStdin"]
    assert "Entrypoint" not in body
    host = body["HostConfig"]
    assert (host["NetworkMode"], host["Memory"], host["Binds"], host["PidsLimit"]) == ("default", 0, [], None)


def test_flags_after_the_image_belong_to_the_program(orlop: Run) -> None:
    outcome = orlop("create", "busybox", "ls", "--rm", "-it", "--help=true", answers=CREATED)
    assert outcome.fake.last.json["Cmd"] == ["ls", "--rm", "-it", "--help=true"]
    assert outcome.fake.last.json["Tty"] is False


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        (("-it",), "Tty", True),
        (("-it",), "StdinOnce", True),
        (("-ti", "--tty=false"), "OpenStdin", True),
        (("-v", "data:/x", "-v", "data:/x", "-v", "/y"), "HostConfig.Binds", ["data:/x"]),
        (("-v=/y",), "Volumes", {"/y": {}}),
        (("--mount", "source=a,target=/b"), "HostConfig.Mounts", [{"Type": "volume", "Source": "a", "Target": "/b"}]),
        (("--tmpfs", "/t:size=1m", "--tmpfs", "/u"), "HostConfig.Tmpfs", {"/t": "size=1m", "/u": ""}),
        (("--volumes-from", "other:ro"), "HostConfig.VolumesFrom", ["other:ro"]),
        (("-e", "A=1", "-e=B=2"), "Env", ["A=1", "B=2"]),
        (("-w", "/w"), "WorkingDir", "/w"),
        (("-u1:2",), "User", "1:2"),
        (("-h", "box"), "Hostname", "box"),
        (("--entrypoint", "/bin/sh"), "Entrypoint", ["/bin/sh"]),
        (("--entrypoint", ""), "Entrypoint", [""]),
        (("-l", "a=b", "--label=c"), "Labels", {"a": "b", "c": ""}),
        (("--net", "none"), "HostConfig.NetworkMode", "none"),
        (("--restart", "on-failure:3"), "HostConfig.RestartPolicy", {"Name": "on-failure", "MaximumRetryCount": 3}),
        (("-m", "64m"), "HostConfig.Memory", 64 << 20),
        (("--memory-swap", "-1"), "HostConfig.MemorySwap", -1),
        (("--cpus", "1.5"), "HostConfig.NanoCpus", 1_500_000_000),
        (("--pids-limit", "-1"), "HostConfig.PidsLimit", -1),
        (("--ulimit", "nofile=1:2"), "HostConfig.Ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 2}]),
        (("--ulimit", "core=0"), "HostConfig.Ulimits", [{"Name": "core", "Soft": 0, "Hard": 0}]),
        (("--cap-add", "NET_ADMIN"), "HostConfig.CapAdd", ["NET_ADMIN"]),
        (("--device", "/dev/null:/dev/x:r"), "HostConfig.Devices",
         [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]),
        (("--device", "/dev/fuse"), "HostConfig.Devices",
         [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}]),
        (("--add-host", "a:1.2.3.4"), "HostConfig.ExtraHosts", ["a:1.2.3.4"]),
        (("--security-opt", "seccomp=unconfined"), "HostConfig.SecurityOpt", ["seccomp=unconfined"]),
        (("--sysctl", "net.core.somaxconn=9"), "HostConfig.Sysctls", {"net.core.somaxconn": "9"}),
        (("--shm-size", "1g"), "HostConfig.ShmSize", 1 << 30),
        (("--log-driver", "none"), "HostConfig.LogConfig", {"Type": "none", "Config": {}}),
        (("--init",), "HostConfig.Init", True),
        (("--rm=true",), "HostConfig.AutoRemove", True),
        (("--rm", "--rm=false"), "HostConfig.AutoRemove", False),
        (("--stop-timeout", "5"), "StopTimeout", 5),
        (("-a", "STDOUT"), "AttachStderr", False),
        (("--expose", "80"), "ExposedPorts", {"80/tcp": {}}),
    ],
)  # fmt: skip
def test_a_flag_becomes_its_field(orlop: Run, flags: tuple[str, ...], path: str, value: object) -> None:
    found: Any = body_of(orlop, *flags)
    for key in path.split("."):
        found = found[key]
    assert found == value


def test_name_and_cidfile(orlop: Run, tmp_path: Path) -> None:
    outcome = orlop("create", "--name", "app", "--cidfile", str(tmp_path / "id"), "busybox", answers=CREATED)
    assert outcome.fake.last.query == {"name": ["app"]}
    assert (tmp_path / "id").read_text() == "1" * 64
    again = orlop("create", "--cidfile", str(tmp_path / "id"), "busybox", answers=CREATED)
    assert again.status == 125
    assert "exists" in again.err
    assert not again.fake.asked, "nothing was created"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("-p", "80:80"), "--publish: publishing ports comes later"),
        (("-P",), "--publish-all"),
        (("--storage-opt", "size=1g"), "--storage-opt"),
        (("--pull", "always"), "registries come later"),
        (("--pull", "sometimes"), "sometimes"),
        (("--rm", "--restart", "always"), "exclude each other"),
        (("--restart", "sometimes"), "--restart"),
        (("--restart", "always:3"), "--restart"),
        (("-m", "much"), "--memory"),
        (("--cpus", "many"), "--cpus"),
        (("--ulimit", "nofile"), "--ulimit"),
        (("--device", "/dev/a:b:c:d"), "--device"),
        (("--mount", "source=a"), "target is required"),
        (("--add-host", "a"), "--add-host"),
        (("--env-file", "/no/such/file"), "--env-file"),
        (("--security-opt", "seccomp=/no/such/file"), "No such file"),
        (("-a", "stdlog"), "--attach stdlog"),
        (("--pids-limit", "few"), "--pids-limit"),
        (("--rm=perhaps",), "perhaps"),
        (("--no-such-flag",), "--no-such-flag"),
        (("-e",), "-e"),
    ],
)
def test_a_flag_that_makes_no_sense_is_125_and_nothing_is_created(
    orlop: Run, flags: tuple[str, ...], text: str
) -> None:
    outcome = orlop("create", *flags, *(["busybox"] if flags != ("-e",) else []), answers=CREATED)
    assert outcome.status == 125, outcome.err
    assert text in outcome.err
    assert outcome.err.startswith("orlop: ")
    assert not outcome.fake.asked
