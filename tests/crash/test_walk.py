"""The daemon is killed at every step of every operation; afterwards each operation has happened or not, nothing is left
over, volumes have their data, and a container that ran all along never noticed (promise 4).

Each scenario is played once to learn the names of its steps (ORLOP_FAULT_LOG), then once for each step with a daemon
that kills itself there (ORLOP_FAULT).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.house import disorder
from orlop.testing.archives import file, make_tar
from support.daemon import LiveDaemon, Result, wait_for
from support.images import write_busybox_tar

TAR = make_tar(file("note", b"travelled\n"), file("big", bytes(100_000)))


@dataclass(frozen=True)
class Scenario:
    """`prepare` runs with a sound daemon, `act` with one that will be killed in it, `redo` proves that the user can
    simply do it again (or that it is done) and brings back the state before `prepare`."""

    name: str
    prepare: Callable[[LiveDaemon], object]
    act: Callable[[LiveDaemon], Result]
    redo: Callable[[LiveDaemon], object]
    operations: tuple[str, ...]  # whose steps are walked


def _create_again(daemon: LiveDaemon) -> None:
    daemon.docker("rm", "-f", "-v", "victim", code=None)
    _create(daemon)
    daemon.docker("rm", "-f", "-v", "victim")
    _no_volume_in_use(daemon)
    whole = "test $(ls /v | wc -l) = $(ls /bin | wc -l)"
    daemon.docker("run", "--rm", "--network", "none", "-v", "limited:/v", "busybox", "sh", "-c", whole)
    daemon.docker("volume", "rm", "limited")


def _create(daemon: LiveDaemon) -> Result:
    command = (
        "create",
        "--name",
        "victim",
        "-v",
        "data:/data",
        "-v",
        "seeded:/etc",
        "-v",
        "/anonymous",
        "--mount",  # its content is mounted, and filled there
        "type=volume,source=limited,target=/bin,volume-opt=size=16m",
        "busybox",
        "true",
    )
    return daemon.docker(*command, code=None)


def _no_volume_in_use(daemon: LiveDaemon) -> None:
    assert daemon.docker("volume", "ls", "-q", "--filter", "dangling=false").stdout == ""


def _start_again(daemon: LiveDaemon) -> None:
    daemon.docker("start", "victim")
    assert daemon.docker("exec", "victim", "cat", "/data/note").stdout == "kept\n"
    daemon.docker("rm", "-f", "victim")


def _stop_again(daemon: LiveDaemon) -> None:
    daemon.docker("stop", "-t", "0", "victim")
    assert daemon.inspect("container", "victim")["State"]["Status"] == "exited"
    daemon.docker("rm", "victim")


def _gone(daemon: LiveDaemon) -> None:
    wait_for("the container to go", lambda: daemon.docker("container", "inspect", "victim", code=None).returncode)


def _removed(daemon: LiveDaemon) -> None:
    if daemon.docker("container", "inspect", "victim", code=None).returncode == 0:
        daemon.docker("rm", "-f", "victim")
    _gone(daemon)


def _volume_removed(daemon: LiveDaemon) -> None:
    if daemon.docker("volume", "inspect", "doomed", code=None).returncode == 0:
        assert (daemon.volume_data("doomed") / "note").read_text() == "precious\n"
        daemon.docker("volume", "rm", "doomed")
    daemon.orlop("volume", "restore", "doomed")
    assert (daemon.volume_data("doomed") / "note").read_text() == "precious\n"
    daemon.docker("volume", "rm", "doomed")


def _doomed_volume(daemon: LiveDaemon) -> None:
    daemon.docker(
        "run", "--rm", "--network", "none", "-v", "doomed:/d", "busybox", "sh", "-c", "echo precious > /d/note"
    )


def _removed_volume(daemon: LiveDaemon) -> None:
    """The only removed one of its name."""
    while daemon.orlop("volume", "purge", "--force", "doomed", code=None).returncode == 0:
        pass
    _doomed_volume(daemon)
    daemon.docker("volume", "rm", "doomed")


def _restored(daemon: LiveDaemon) -> None:
    if daemon.docker("volume", "inspect", "doomed", code=None).returncode:
        daemon.orlop("volume", "restore", "doomed")
    assert (daemon.volume_data("doomed") / "note").read_text() == "precious\n"
    daemon.docker("volume", "rm", "doomed")


def _purged(daemon: LiveDaemon) -> None:
    """It can be brought back with all its bytes, or it is gone for good."""
    if daemon.orlop("volume", "restore", "doomed", code=None).returncode == 0:
        assert (daemon.volume_data("doomed") / "note").read_text() == "precious\n"
        daemon.docker("volume", "rm", "doomed")
        daemon.orlop("volume", "purge", "--force", "doomed")
    assert daemon.orlop("volume", "restore", "doomed", code=None).returncode != 0
    purging = daemon.data_root / "volumes" / ".purging"
    wait_for("the bytes to go", lambda: not any(purging.iterdir()))


def _in_use(daemon: LiveDaemon) -> None:
    _doomed_volume(daemon)
    daemon.docker("run", "-d", "--name", "victim", "-v", "doomed:/d", "busybox", "sleep", "1000")


def _renamed(daemon: LiveDaemon) -> None:
    """Under either name, and its container goes on with it."""
    for name in ("doomed", "moved"):
        if daemon.docker("volume", "inspect", "moved", code=None).returncode:
            daemon.orlop("volume", "rename", "doomed", "moved")
        assert daemon.inspect("volume", name)["Name"] == "moved"
    assert daemon.docker("volume", "ls", "-q", "-f", "name=doomed").stdout == "moved\n"
    daemon.docker("restart", "-t", "0", "victim")
    assert daemon.docker("exec", "victim", "cat", "/d/note").stdout == "precious\n"
    daemon.docker("rm", "-f", "victim")
    daemon.docker("volume", "rm", "doomed")
    assert (daemon.volume_data("moved") / "note").read_text() == "precious\n"
    daemon.docker("volume", "rm", "moved")


def _updated(daemon: LiveDaemon) -> None:
    """As it was or as it was to be, and beside the data stands the same as in the journal."""
    shown = daemon.inspect("volume", "doomed")
    beside = json.loads((daemon.volume_data("doomed").parent / "orlop.json").read_text())
    assert (shown["Labels"], shown["Options"]) in ((None, None), ({"tier": "gold"}, {"mode": "0750"}))
    assert (beside["labels"], beside["options"]) == (shown["Labels"], shown["Options"])
    daemon.orlop("volume", "update", "--label", "tier=gold", "--opt", "mode=0750", "doomed")
    assert daemon.docker("exec", "victim", "cat", "/d/note").stdout == "precious\n"
    daemon.docker("rm", "-f", "victim")
    daemon.docker("volume", "rm", "doomed")


def _loaded(daemon: LiveDaemon, archive: Path) -> None:
    daemon.docker("load", "-i", archive)
    assert daemon.docker("run", "--rm", "--network", "none", "spare", "echo", "runs").stdout == "runs\n"
    daemon.docker("rmi", "spare")


def _sleeper(daemon: LiveDaemon, start: bool) -> None:
    """With mounts that are a path and mounts that are more."""
    volumes = ("-v", "data:/data", "-v", "/anonymous", "-v", "data:/as-user:ro,idmap", "-u", "1000")
    image = ("--mount", "type=image,source=busybox,target=/image,image-subpath=bin")
    memory = ("--mount", "type=volume,source=memory,target=/memory,volume-opt=type=tmpfs,volume-opt=device=tmpfs")
    command = ("run", "-d") if start else ("create",)
    daemon.docker(*command, "--name", "victim", *volumes, *image, *memory, "busybox", "sleep", "1000")


def _copied(daemon: LiveDaemon) -> None:
    if daemon.docker("volume", "inspect", "copied", code=None).returncode != 0:
        daemon.orlop("volume", "cp", "data", "copied")
    assert (daemon.volume_data("copied") / "note").read_text() == "kept\n"
    daemon.docker("volume", "rm", "copied")


def _imported(daemon: LiveDaemon, tar: bytes) -> None:
    if daemon.docker("volume", "inspect", "imported", code=None).returncode != 0:
        daemon.orlop("volume", "import", "imported", "-", stdin=tar)
    assert (daemon.volume_data("imported") / "note").read_text() == "travelled\n"
    daemon.docker("volume", "rm", "imported")


def scenarios(archive: Path) -> list[Scenario]:
    return [
        Scenario(
            "create", lambda d: None, _create, _create_again, ("container.create", "volume.create", "volume.publish")
        ),
        Scenario(
            "start",
            lambda d: _sleeper(d, start=False),
            lambda d: d.docker("start", "victim", code=None),
            _start_again,
            ("container.start",),
        ),
        Scenario(
            "stop",
            lambda d: _sleeper(d, start=True),
            lambda d: d.docker("stop", "-t", "0", "victim", code=None),
            _stop_again,
            ("container.cleanup",),
        ),
        Scenario(
            "rm",
            lambda d: _sleeper(d, start=True),
            lambda d: d.docker("rm", "-f", "-v", "victim", code=None),
            _removed,
            ("container.cleanup", "container.remove", "volume.remove"),
        ),
        Scenario(
            "load",
            lambda d: None,
            lambda d: d.docker("load", "-i", archive, code=None),
            lambda d: _loaded(d, archive),
            ("image.load",),
        ),
        Scenario(
            "rmi",
            lambda d: d.docker("load", "-i", archive),
            lambda d: d.docker("rmi", "spare", code=None),
            lambda d: _loaded(d, archive),
            ("image.remove",),
        ),
        Scenario(
            "volume rm",
            _doomed_volume,
            lambda d: d.docker("volume", "rm", "doomed", code=None),
            _volume_removed,
            ("volume.remove",),
        ),
        Scenario(
            "volume restore",
            _removed_volume,
            lambda d: d.orlop("volume", "restore", "doomed", code=None),
            _restored,
            ("volume.restore",),
        ),
        Scenario(
            "volume purge",
            _removed_volume,
            lambda d: d.orlop("volume", "purge", "--force", "doomed", code=None),
            _purged,
            ("volume.purge",),
        ),
        Scenario(
            "volume rename",
            _in_use,
            lambda d: d.orlop("volume", "rename", "doomed", "moved", code=None),
            _renamed,
            ("volume.rename",),
        ),
        Scenario(
            "volume update",
            _in_use,
            lambda d: d.orlop("volume", "update", "--label", "tier=gold", "--opt", "mode=0750", "doomed", code=None),
            _updated,
            ("volume.change",),
        ),
        Scenario(
            "volume cp",
            lambda d: None,
            lambda d: d.orlop("volume", "cp", "data", "copied", code=None),
            _copied,
            ("volume.reveal",),
        ),
        Scenario(
            "volume import",
            lambda d: None,
            lambda d: d.orlop("volume", "import", "imported", "-", stdin=TAR, code=None),
            lambda d: _imported(d, TAR),
            ("volume.reveal",),
        ),
    ]


@pytest.fixture(scope="module")
def ship(docker_command: Path, busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """A daemon with an image, a volume with data, an archive of another image, and a bystander that must not notice."""
    daemon = LiveDaemon(docker_command)
    try:
        daemon.start()
        daemon.docker("import", busybox_tar, "busybox")
        daemon.docker(
            "run", "-d", "--name", "bystander", "busybox", "sh", "-c", "while :; do date +%s%N; sleep 0.2; done"
        )
        daemon.docker(
            "run", "--rm", "--network", "none", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/note"
        )
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def archive(ship: LiveDaemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that the daemon does not have."""
    path = tmp_path_factory.mktemp("archive") / "spare.tar"
    rootfs = write_busybox_tar(path.with_name("rootfs.tar"), {"more": "more"})
    ship.docker("import", rootfs, "spare")
    ship.docker("save", "-o", path, "spare")
    ship.docker("rmi", "spare")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "create",
        "start",
        "stop",
        "rm",
        "load",
        "rmi",
        "volume rm",
        "volume restore",
        "volume purge",
        "volume rename",
        "volume update",
        "volume cp",
        "volume import",
    ],
)
def test_killed_at_every_step(name: str, ship: LiveDaemon, archive: Path, tmp_path: Path) -> None:
    scenario = next(item for item in scenarios(archive) if item.name == name)
    points = _points_of(scenario, ship, tmp_path / "points")
    assert points, f"the scenario {name} passes no step of {scenario.operations}"
    bystander = ship.inspect("container", "bystander")["State"]["Pid"]
    for point in points:
        _kill_at(scenario, point, ship, bystander)


def _points_of(scenario: Scenario, daemon: LiveDaemon, log: Path) -> list[str]:
    scenario.prepare(daemon)
    daemon.stop()
    daemon.start(environment={"ORLOP_FAULT_LOG": str(log)})
    log.write_text("")
    scenario.act(daemon)
    daemon.stop()
    passed = dict.fromkeys(log.read_text().splitlines())
    daemon.start()
    scenario.redo(daemon)
    assert disorder(daemon) == []
    return [point for point in passed if point.split("/")[0] in scenario.operations]


def _kill_at(scenario: Scenario, point: str, daemon: LiveDaemon, bystander: int) -> None:
    scenario.prepare(daemon)
    daemon.stop()
    daemon.start(environment={"ORLOP_FAULT": f"{point}=kill"})
    scenario.act(daemon)
    assert daemon.wait_for_exit() == -9, f"the daemon survived {point}"
    daemon.start()
    wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
    assert disorder(daemon) == [], f"after a kill at {point}:\n{daemon.logs()}"
    state = daemon.inspect("container", "bystander")["State"]
    assert (state["Status"], state["Pid"]) == ("running", bystander), f"the bystander noticed {point}"
    assert (daemon.volume_data("data") / "note").read_text() == "kept\n"
    scenario.redo(daemon)
    assert disorder(daemon) == [], f"after doing it again, following a kill at {point}:\n{daemon.logs()}"


FULL, FAILING, READ_ONLY = ("ENOSPC", "No space left on device"), ("EIO", "Input/output error"), ("EROFS", "Read-only")


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        *((name, FULL) for name in ("create", "start", "load", "volume cp", "volume import")),
        *((name, FAILING) for name in ("create", "volume rm", "volume restore", "volume purge")),
        *((name, READ_ONLY) for name in ("volume rename", "volume update")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_disk_that_refuses_at_every_step(
    name: str, trouble: tuple[str, str], ship: LiveDaemon, archive: Path, tmp_path: Path
) -> None:
    """The user is told why, nothing half made stays, and once the disk is well again it works."""
    error, text = trouble
    scenario = next(item for item in scenarios(archive) if item.name == name)
    for point in _points_of(scenario, ship, tmp_path / "points"):
        if not point.endswith("/before"):
            continue  # what comes after a step comes before the next one
        scenario.prepare(ship)
        ship.stop()
        ship.start(environment={"ORLOP_FAULT": f"{point}=errno:{error}"})
        told = scenario.act(ship)
        assert text in told.stderr, f"{error} at {point} was not told of: {told}"
        assert disorder(ship) == [], f"after {error} at {point}:\n{ship.logs()}"
        ship.stop()
        ship.start()
        scenario.redo(ship)
        assert disorder(ship) == [], f"after doing it again, following {error} at {point}:\n{ship.logs()}"
