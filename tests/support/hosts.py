"""Hosts: each a network, a mount, a process and a time namespace with a daemon and a data root of its own.

Hosts(place)            the network, three members of etcd, a SAN; `add("a")` for each host
host.power_off()        every process of it is gone in one instant, and what it had in memory with it
host.pause(), go_on()   every process of it stands still, as in a virtual machine that is held
hosts.cut(host, ...)    it hears no more of etcd, of the storage, or of both
"""

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from support.daemon import LiveDaemon, wait_for
from support.etcd_members import MEMBERS, Etcd
from support.iscsi_target import IscsiTarget
from support.netspace import Network

STORAGE = "san"
WITH_US = ("setpriv", "--pdeathsig", "KILL")  # in front of what is to end with the tests, however those end
_NS_GET_PARENT = 0xB702
# Process 1 of a host: somebody who takes in orphans. Its mount namespace begins as a copy of the machine's. What others
# mounted there meanwhile would stay in it, and look like something they left behind; so it goes first.
_INIT = """
import ctypes, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
points = [line.split()[4].encode().decode("unicode_escape") for line in open("/proc/self/mountinfo")]
for point in reversed(points):
    if point.startswith(("/tmp/", "/run/", "/dev/shm/")):
        ctypes.CDLL(None).umount2(point.encode(), 2)
print(flush=True)
while True:
    signal.pause()
"""


class Host(LiveDaemon):
    def __init__(self, hosts: "Hosts", name: str, docker_command: Path | None, arguments: Sequence[str]) -> None:
        super().__init__(docker_command, arguments=arguments)
        self.name = name
        self._hosts = hosts
        self._init: subprocess.Popen[bytes] | None = None
        self.power_on()

    # Its power

    def power_on(self) -> None:
        """Without a daemon yet: `start`."""
        own = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child"]
        boot = ["--time", "--boottime", str(_any_boot_time())]
        command = [*WITH_US, *self._hosts.network.prefix(self.name), *own, *boot, "--", sys.executable, "-c", _INIT]
        with (self.home / "init.log").open("ab") as log:
            self._init = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"\n"
        self._init_pid = _child_of(self._init.pid)
        self._space = Path(f"/proc/{self._init_pid}/ns/pid").stat().st_ino

    def revive(self) -> None:
        """With power, a daemon that runs, and no containers, whatever a test left it as."""
        if not self.is_on:
            self.power_on()
        if not self.is_running:
            self.start()
        if containers := self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", *containers)

    def power_off(self) -> None:
        assert self._init is not None
        self.go_on()  # whoever waits for them from outside
        assert self._init.poll() is None, (
            f"host {self.name} ended by itself with {self._init.returncode}: {self.logs()}"
        )
        os.kill(self._init_pid, signal.SIGKILL)
        self._init.wait()
        self._init = None
        if self.process is not None:
            self.process.wait(30)
        wait_for(f"the end of host {self.name}", lambda: not self.pids())
        for entry in self.exec_root.iterdir():
            subprocess.run(["rm", "-rf", "--one-file-system", str(entry)], check=False)  # it is in memory

    @property
    def is_on(self) -> bool:
        return self._init is not None

    def enter(self) -> list[str]:
        """In front of a command that is to run on this host."""
        return ["nsenter", "-t", str(self._init_pid), "-m", "-p", "-n", "-T", "--"]

    def _command(self) -> list[str]:
        return [*self.enter(), *super()._command()]

    @property
    def pid(self) -> int:
        return _child_of(super().pid)

    def _end(self, number: signal.Signals) -> int:
        with suppress(ProcessLookupError, StopIteration):
            if self.is_running:
                os.kill(self.pid, number)
        return self.wait_for_exit()

    # Its processes

    def pids(self, containing: str = "") -> list[int]:
        """Of this host, its containers' too; by what is in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_within(entry, self._space):
                with suppress(OSError):
                    if containing in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                        found.append(int(entry.name))
        return found

    def pause(self) -> None:
        """Whoever starts another one meanwhile is stopped in the next round."""
        while moving := [pid for pid in self.pids() if not _is_still(pid)]:
            for pid in moving:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        # nsenter, who waits for the daemon from outside, stops with it.
        outside = [self.process.pid] if self.process is not None and self.is_running else []
        for pid in [*self.pids(), *outside]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        try:
            if self.is_on:
                self.go_on()
            else:
                self.power_on()
            super().close()
        finally:
            if self._init is not None:
                self._init.kill()
                self._init.wait()
            self.scrub()


class Hosts:
    def __init__(self, place: Path, docker_command: Path | None) -> None:
        self._docker_command = docker_command
        self.network = Network()
        self.etcd = Etcd(self.network, place / "etcd")
        (place / "san").mkdir()
        self.network.join(STORAGE, 30)
        prefix = [*WITH_US, *self.network.prefix(STORAGE)]
        self.san = IscsiTarget(place / "san", self.network.addresses[STORAGE], prefix)
        self.members: dict[str, Host] = {}

    def add(self, name: str, *arguments: str, joins: bool = True) -> Host:
        self.network.join(name, 101 + len(self.members))
        joining = ("--cluster", self.etcd.address, "--node", name) if joins else ()
        host = self.members[name] = Host(self, name, self._docker_command, (*joining, *arguments))
        return host

    def cut(self, host: Host, etcd: bool = False, storage: bool = False) -> None:
        others = [*(MEMBERS if etcd else ()), *((STORAGE,) if storage else ())]
        self.network.cut(host.name, others)

    def heal(self, host: Host) -> None:
        self.network.heal(host.name)

    def close(self) -> None:
        with ExitStack() as stack:
            for end in (self.network.close, self.etcd.close, self.san.close):
                stack.callback(end)
            for host in self.members.values():
                stack.callback(host.close)
            for host in self.members.values():
                self.heal(host)


def _any_boot_time() -> int:
    """How many seconds the CLOCK_BOOTTIME of a host is to have more than the machine's: hosts began at other times."""
    return random.randrange(60 - int(time.clock_gettime(time.CLOCK_BOOTTIME)), 10**6)


def _child_of(pid: int) -> int:
    children = wait_for("the child of nsenter", lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return int(children[0])


def _is_still(pid: int) -> bool:
    """Stopped, gone, or frozen by its container engine: then a signal waits until it is thawed."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/wchan").read_text() in ("refrigerator", "__refrigerator", "do_freezer_trap"):
            return True
    return _state(pid) in "TZX"


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return text[text.rindex(")") + 2]


def _is_within(process: Path, space: int) -> bool:
    """Whether it is in that process namespace, or in one below."""
    try:
        fd = os.open(process / "ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    while os.fstat(fd).st_ino != space:
        try:
            parent = fcntl.ioctl(fd, _NS_GET_PARENT)
        except OSError:
            return False
        finally:
            os.close(fd)
        fd = parent
    os.close(fd)
    return True
