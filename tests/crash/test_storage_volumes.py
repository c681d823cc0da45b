"""The daemon is killed before and after each step of what is done with a volume whose storage is elsewhere; afterwards
containers have what they had, what nobody uses is not mounted, and no byte is lost.

Usually each driver has one step of one kind, another one than its neighbour; `--long` plays all with all drivers.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from crash.house import disorder
from orlop.drivers.volumes.mount_program import MountProgram
from support.daemon import LiveDaemon, wait_for
from support.iscsi_target import iscsi_target, needs_san
from support.leaks import find_lasting_leaks
from support.nas import webdav


@dataclass(frozen=True)
class Ship:
    """A daemon, and a driver with options for a volume of it."""

    daemon: LiveDaemon
    driver: str
    options: Mapping[str, str]

    def create(self) -> None:
        words = [word for key, value in self.options.items() for word in ("-o", f"{key}={value}")]
        self.daemon.docker("volume", "create", "-d", self.driver, *words, "far", code=None)

    def write(self) -> None:
        self.create()
        assert self.used("echo kept > /d/note") == ""

    def used(self, script: str) -> str:
        command = ("run", "--rm", "--network", "none", "-v", "far:/d", "busybox", "sh", "-c", script)
        return self.daemon.docker(*command).stdout

    def make(self) -> None:
        self.write()
        mounts = ("--network", "none", "-v", "far:/d")
        self.daemon.docker("create", "--name", "victim", *mounts, "busybox", "sleep", "1000")

    def run(self) -> None:
        self.make()
        self.daemon.docker("start", "victim")

    def docker(self, *words: str) -> None:
        self.daemon.docker(*words, code=None)

    def kill_program(self) -> None:
        (pid,) = self.programs()
        os.kill(pid, signal.SIGKILL)

    def programs(self) -> list[int]:
        folder = self.daemon.exec_root / "programs" / self.driver
        places = (folder / "programs" if self.driver == "san" else folder).glob("*")
        return [pid for place in places if (pid := MountProgram(place).pid)]

    def mounted(self) -> list[str]:
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in table if f"{self.daemon.data_root}/drivers/{self.driver}/" in line.split()[4]]

    @property
    def is_running(self) -> bool:
        return bool(self.daemon.docker("ps", "-q").stdout)


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[Ship], object]
    act: Callable[[Ship], object]
    steps: tuple[str, ...]


SCENARIOS = {
    "create": Scenario(lambda ship: None, Ship.create, ("volume.create/volume.create",)),
    "attach": Scenario(Ship.make, lambda ship: ship.docker("start", "victim"), ("container.start/volume.attach",)),
    "detach": Scenario(Ship.run, lambda ship: ship.docker("rm", "-f", "victim"), ("container.cleanup/volume.detach",)),
    "remove": Scenario(Ship.write, lambda ship: ship.docker("volume", "rm", "far"), ("volume.remove/volume.retire",)),
    "mend": Scenario(Ship.run, Ship.kill_program, ("volume.mend/mount", "volume.mend/replace")),
}
# Usually: which one, and which of its points. A device is not mounted anew under who uses it.
CHOSEN = {
    "cloud": ("mend", 2),
    "nas": ("detach", 0),
    "juicefs": ("mend", 1),
    "encrypted": ("remove", 1),
    "san": ("attach", 1),
}


@pytest.fixture
def make_ship(our_daemon: LiveDaemon, tmp_path: Path) -> Iterator[Callable[[str], Ship]]:
    far = tmp_path / "far"
    far.mkdir()
    with ExitStack() as stack:

        def make(driver: str) -> Ship:
            secrets: Mapping[str, str] = {}
            options: Mapping[str, str] = {}
            if driver == "cloud":
                options = {"type": "alias", "rclone.remote": str(far)}
            elif driver == "nas":
                share = stack.enter_context(webdav(far))
                options, secrets = share.options, share.secrets
            elif driver == "juicefs":
                options = {"meta": f"sqlite3://{tmp_path}/meta.db", "name": "tree", "bucket": str(far)}
            elif driver == "san":
                options = stack.enter_context(iscsi_target(far, 1)).options(1)
            else:
                options, secrets = {"key": "secret://vault"}, {"vault": "the key of the tests"}
            for name, value in secrets.items():
                our_daemon.orlop("secret", "create", "--force", name, stdin=value)
            return Ship(our_daemon, driver, options)

        yield make


@pytest.mark.slow
@pytest.mark.parametrize("driver", [*sorted(set(CHOSEN) - {"san"}), pytest.param("san", marks=needs_san)])
def test_killed_at_every_step(driver: str, make_ship: Callable[[str], Ship], request: pytest.FixtureRequest) -> None:
    ship = make_ship(driver)
    if not request.config.getoption("--long"):
        name, number = CHOSEN[driver]
        _kill_at(ship, SCENARIOS[name], _points(SCENARIOS[name])[number])
        return
    for name, scenario in SCENARIOS.items():
        for point in _points(scenario) if (driver, name) != ("san", "mend") else ():
            _kill_at(ship, scenario, point)


def _points(scenario: Scenario) -> list[str]:
    return [f"{step}/{moment}" for step in scenario.steps for moment in ("before", "after")]


def _kill_at(ship: Ship, scenario: Scenario, point: str) -> None:
    daemon = ship.daemon
    scenario.prepare(ship)
    daemon.stop()
    daemon.start(environment={"ORLOP_FAULT": f"{point}=kill"})
    scenario.act(ship)
    assert daemon.wait_for_exit() == -9, f"the daemon survived {point}"
    daemon.start()
    wait_for("the daemon to have recovered", lambda: daemon.docker("ps", code=None).returncode == 0)
    try:
        _insist_on_order(ship, scenario)
    except AssertionError as error:
        error.add_note(f"{ship.driver}, after a kill at {point}:\n{daemon.logs()}")
        raise


def _insist_on_order(ship: Ship, scenario: Scenario) -> None:
    daemon = ship.daemon
    running = int(ship.is_running)
    # What a crash cut off is let go of in the background.
    wait_for("the right mounts", lambda: len(ship.mounted()) == running)
    wait_for("the right programs", lambda: len(ship.programs()) == running)
    if running:
        read = ("exec", "victim", "cat", "/d/note")
        wait_for("the container to read", lambda: daemon.docker(*read, code=None).stdout == "kept\n")
    # It has no folder among those of the local driver.
    assert [line for line in disorder(daemon) if "far" not in line and "retired" not in line] == []
    daemon.docker("rm", "-f", "victim", code=None)
    if daemon.docker("volume", "inspect", "far", code=None).returncode:
        daemon.orlop("volume", "restore", "far", code=None)
    ship.create()
    if scenario.prepare is SCENARIOS["create"].prepare:
        ship.write()
    assert ship.used("cat /d/note") == "kept\n"
    daemon.docker("volume", "rm", "far")
    daemon.orlop("volume", "purge", "--force", "far")
    wait_for("nothing to be left", lambda: ship.programs() == [] == ship.mounted())
    places = [daemon.data_root / "drivers", daemon.exec_root / "programs"]
    left = [leak for leak in find_lasting_leaks(places) if not leak.endswith("of its own)")]
    assert left == []
