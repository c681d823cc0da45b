"""A program that serves a mount (rclone, juicefs, gocryptfs, ...): started, found again, ended.

    <place>/              0700, on the exec root, which a reboot clears
      program.json        pid and start time: who it is, whatever the daemon's fate; and its leash, if it has one
      log                 what it said
    directory/          what it works in, if that is elsewhere: bound here, and so found whatever it is renamed to
      <file>              0600, what it is configured with, secrets resolved

It outlives the daemon, as the containers do that use its mount: it has a session of its own and no pipe to us. Whoever
comes next knows it by pid and start time. One whose start was cut off before these were written down is known by its
working directory, which is its place: nobody has its mount, so it is killed. Secrets go into files, never into its
arguments: those everybody can read.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import field
from pathlib import Path

from orlop.errors import HostFailure, Unavailable, Unsupported
from orlop.kernel import mounts
from orlop.kernel.leash import leash_command, leash_environment
from orlop.kernel.polling import readable
from orlop.kernel.process import child_pids, is_same_process, open_pidfd, start_ticks, working_in
from orlop.model.value import dataclass
from orlop.store.files import remove_tree, write_durably

log = logging.getLogger(__name__)

_RECORD, _DIRECTORY = "program.json", "directory"
DIRECTORY = "{directory}"
_LOOK_SECONDS = 0.02
_KILL_SECONDS = 5.0
_LAST_WORDS_BYTES = 2000
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}


@dataclass(frozen=True, slots=True)
class Command:
    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)  # written into the program's place before it starts
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None  # to work in: `DIRECTORY` in an argument is a path to it, whatever it is renamed to


def find_program(name: str, package: str) -> str:
    """Where a program is: on the PATH, or beside the interpreter, where a wheel puts it. Raises Unsupported."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise Unsupported(f"the program {name}", "it is not installed", f"Install {package}")
    return found


class MountProgram:
    """Of one volume. The caller sees to it that nobody else starts or ends it at the same time."""

    # Those that this process started have to be waited for by it when they end.
    _children: dict[int, "subprocess.Popen[bytes]"] = {}
    _children_lock = threading.Lock()

    def __init__(self, place: Path) -> None:
        self.place = place

    def start(
        self,
        subject: str,
        command: Command,
        is_mounted: Callable[[], bool],
        seconds: float,
        leash: Path | None = None,
    ) -> None:
        """Returns once it has mounted. Raises HostFailure with its last words when it ends before, Unavailable when it
        has not in time; then it runs no longer. With a `leash` it lives no longer than that file says."""
        self.end(0.0)
        self.place.mkdir(parents=True, mode=0o700)
        for name, text in command.files.items():
            write_durably(self.place / name, text.encode())
        argv = command.argv
        if command.directory is not None:
            self._show(command.directory)
            argv = tuple(word.replace(DIRECTORY, str(self.place / _DIRECTORY)) for word in argv)
        with (self.place / "log").open("xb") as said:
            child = subprocess.Popen(
                leash_command(leash, argv) if leash else argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                cwd=self.place,
                env={**_ENVIRONMENT, **command.environment, **(leash_environment() if leash else {})},
            )
        with self._children_lock:
            self._children[child.pid] = child
        record = {"pid": child.pid, "ticks": start_ticks(child.pid), "leash": str(leash or "")}
        write_durably(self.place / _RECORD, json.dumps(record).encode())
        self._wait(subject, is_mounted, seconds)

    def _show(self, directory: Path) -> None:
        """Not by a descriptor: each look through /proc costs three times that of a plain path, and programs that keep
        a cache look some thirty times a file."""
        shown = self.place / _DIRECTORY
        shown.mkdir(mode=0o700)
        mounts.bind(directory, shown)
        mounts.set_propagation(shown, mounts.MS_PRIVATE)

    def _show_no_more(self) -> None:
        with suppress(FileNotFoundError):
            while mounts.is_mount_point(self.place / _DIRECTORY):
                mounts.unmount(self.place / _DIRECTORY, mounts.MNT_DETACH)

    def _wait(self, subject: str, is_mounted: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_mounted():
            if not self.is_alive():
                words = self.last_words() or "it said nothing"
                self.end(0.0)
                raise HostFailure(subject, f"its program ended: {words}")
            if time.monotonic() > deadline:
                words = self.last_words()
                self.end(1.0)
                why = f"its program did not mount within {seconds:g} s" + (f"; it said: {words}" if words else "")
                raise Unavailable(subject, why, "Check that the storage can be reached from here")
            time.sleep(_LOOK_SECONDS)

    @property
    def leash(self) -> Path | None:
        """What it hangs on, or hung."""
        try:
            found = json.loads((self.place / _RECORD).read_text()).get("leash")
        except (FileNotFoundError, ValueError, AttributeError):
            return None
        return Path(found) if found else None

    @property
    def pid(self) -> int:
        """Of the program, or of its keeper where it is on a leash. 0 when there is none, or it has ended."""
        try:
            record = json.loads((self.place / _RECORD).read_text())
            pid, ticks = int(record["pid"]), int(record["ticks"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0
        with self._children_lock:
            child = self._children.get(pid)
            if child is not None and child.poll() is not None:
                del self._children[pid]
                return 0
        return pid if is_same_process(pid, ticks) else 0

    def is_alive(self) -> bool:
        return self.pid != 0

    def last_words(self) -> str:
        """The end of what it said, on one line."""
        try:
            with (self.place / "log").open("rb") as said:
                said.seek(max(0, os.fstat(said.fileno()).st_size - _LAST_WORDS_BYTES))
                lines = said.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return " / ".join(line.strip() for line in lines[-5:] if line.strip())

    def kill(self) -> None:
        """At once, and nobody waits for it. Its place stays, for whoever wants to know what became of it."""
        pid = self.pid
        if pid:
            with suppress(ProcessLookupError):
                pidfd = open_pidfd(pid, start_ticks(pid))
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)

    def end(self, seconds: float) -> None:
        """Asked to end; killed when it has not in time. Gone already is success. Its place goes with it."""
        try:
            self.finish(seconds)
        except HostFailure as error:
            log.error("%s", error)
        self.end_unrecorded()
        self._show_no_more()
        remove_tree(self.place)

    def end_unrecorded(self) -> None:
        """What a crash left of a start that it cut off. Nothing where there is none."""
        if not self.place.exists() or (self.place / _RECORD).exists():
            return
        deadline = time.monotonic() + _KILL_SECONDS
        while (pids := working_in(self.place)) and time.monotonic() < deadline:
            for pid in pids:
                log.warning("a program whose start was cut off ends now: pid %d in %s", pid, self.place)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)

    def finish(self, seconds: float = 0.0) -> None:
        """As `end`, and what it said stays. Nothing of it runs when this returns. Raises HostFailure."""
        pid = self.pid
        if not pid:
            return
        with suppress(ProcessLookupError), ExitStack() as open_fds:
            ticks = start_ticks(pid)
            kept = [open_pidfd(child, start_ticks(child)) for child in (child_pids(pid) if self.leash else ())]
            keeper = open_pidfd(pid, ticks)
            for fd in (*kept, keeper):
                open_fds.callback(os.close, fd)
            if seconds:
                signal.pidfd_send_signal(keeper, signal.SIGTERM)
                _wait_for_end(self, seconds)
            for fd in (*kept, keeper):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            _wait_for_end(self, _KILL_SECONDS)
            if any(not readable([fd], _KILL_SECONDS) for fd in kept) or self.is_alive():
                raise HostFailure(f"ending process {pid}", "it does not end although it was killed")


def end_unrecorded(run: Path) -> None:
    """At start, before anybody looks at what is mounted: it might mount a moment later."""
    for place in run.iterdir() if run.exists() else ():
        MountProgram(place).end_unrecorded()


def _wait_for_end(program: MountProgram, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while program.is_alive() and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
