"""Mounting what a volume's options name: memory, a directory or a disk of this host, NFS, CIFS, by mount(2).

No mount.* program is run. What may have to wait for somebody else's storage is asked of a process that can be killed.
"""

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.local_words import (
    MountWords,
    credentials_file,
    host_to_resolve,
    limit_words,
    owner_words,
    parse_mount_words,
    remount_flags,
    with_address,
    with_credentials,
)
from orlop.drivers.volumes.mounted_uses import DEADLINE_SECONDS, is_foreign
from orlop.drivers.volumes.volume_directory import Resolve
from orlop.errors import Conflict, HostFailure, Unavailable
from orlop.kernel import mounts
from orlop.kernel.answering import require_answer
from orlop.kernel.detached_mount import reconfigure
from orlop.kernel.loop import loop_device
from orlop.kernel.mount_process import mount_within
from orlop.kernel.mounts import MountEntry
from orlop.kernel.resolving import resolve
from orlop.model.volume import hide_in_device, hide_secret_words

_RESOLVING_SECONDS = 10.0
_ANSWER_SECONDS = 10.0  # of what is mounted on this host already
_AWAY = (
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EAGAIN),
)
_MOST_CREDENTIALS = 64 << 10


def mount_options(path: Path, options: MountOptions, resolve_secrets: Resolve = dict) -> None:
    """Raises HostFailure with Docker's text, Unavailable where a server does not answer, NotFound for a secret that is
    not there. What is shown is never what `resolve_secrets` made of it."""
    subject = f"error while mounting volume '{path}': failed to mount local volume"
    words = parse_mount_words(_completed(subject, options))
    data = ",".join(filter(None, (words.data, owner_words(options), *limit_words(options, words.data))))
    shown = _shown(path, options.device, data, words.flags)
    data = resolve_secrets({"o": data})["o"]
    as_given = options
    options = replace(options, device=resolve_secrets({"device": options.device})["device"])
    try:
        if words.is_bind:
            _bind(path, options.device, words)
        else:
            _mount(path, options, words.flags, data, words.is_loop)
        if words.propagation:
            _propagate(path, words.propagation)
    except TimeoutError as error:
        hint = "Check that the server runs and can be reached from here"
        raise Unavailable(subject, f"{shown}: {error.strerror}", hint) from error
    except OSError as error:
        # As Docker spells it: clients look for parts of the text, and Go begins it with a small letter.
        reason = os.strerror(error.errno or 0).lower()
        is_away = error.errno in _AWAY and is_foreign(options.device, options.fs_type)
        kind = Unavailable if is_away else HostFailure
        raise kind(subject, f"{shown}: {reason}", _hint(error, as_given)) from error


def _shown(path: Path, device: str, data: str, flags: int) -> str:
    parts = [f"mount {hide_in_device(device)}:{path}"]
    parts += [f"data: {hide_secret_words(data)}"] if data else []
    parts += [f"flags: {flags:#x}"] if flags else []
    return ", ".join(parts)


def is_expected(entry: MountEntry, options: MountOptions) -> bool:
    """Whether what is mounted already is what the options name: another engine had the volume mounted, or fstab."""
    if not options.fs_type or parse_mount_words(options.options).is_bind:
        return False
    same_type = entry.fs_type == options.fs_type or {entry.fs_type, options.fs_type} == {"nfs", "nfs4"}
    return same_type and entry.source == options.device


def _mount(path: Path, options: MountOptions, flags: int, data: str, is_loop: bool) -> None:
    # Empty is for the kernel no source at all, where memory and others just want any word.
    source = options.device or "none"
    if is_loop:
        _mount_file(path, options, flags, data)
    elif is_foreign(options.device, options.fs_type):
        mount_within(DEADLINE_SECONDS, source, str(path), options.fs_type, flags, data)
    else:
        mounts.mount(source, path, options.fs_type, flags, data)


def _mount_file(path: Path, options: MountOptions, flags: int, data: str) -> None:
    require_answer(options.device, DEADLINE_SECONDS)
    access = os.O_RDONLY if flags & mounts.MS_RDONLY else os.O_RDWR
    fd = os.open(options.device, access | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a file", options.device)
        with loop_device(fd) as (_, device):
            mounts.mount(device, path, options.fs_type, flags, data)
    finally:
        os.close(fd)


def _bind(path: Path, source: str, words: MountWords) -> None:
    require_answer(source, _ANSWER_SECONDS)
    mounts.mount(source, path, "", words.flags & (mounts.MS_BIND | mounts.MS_REC))
    try:
        # The kernel heeds no other flag on the call that makes a bind mount.
        if (words.flags | words.cleared) & ~(mounts.MS_BIND | mounts.MS_REC):
            point = mounts.spelled(path)
            entry = next(entry for entry in mounts.mounts_at_or_below(path) if entry.mount_point == point)
            mounts.mount("none", path, "", mounts.MS_BIND | mounts.MS_REMOUNT | remount_flags(words, entry))
    except BaseException:
        mounts.unmount(path, mounts.MNT_DETACH)
        raise


def _propagate(path: Path, propagation: int) -> None:
    try:
        mounts.set_propagation(path, propagation)
    except OSError:
        mounts.unmount(path, mounts.MNT_DETACH)
        raise


def resize_memory(path: Path, options: MountOptions) -> None:
    """Another size for a tmpfs that is mounted; where none is, the next mount has it."""
    if not mounts.is_mount_point(path):
        return
    words = limit_words(options, parse_mount_words(options.options).data)
    try:
        reconfigure(path, dict(word.split("=", 1) for word in words))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Conflict(f"limit {path}", "more is stored in it than the new limit allows") from error


def _completed(subject: str, options: MountOptions) -> str:
    """The words of `o` with what the kernel cannot find out by itself, found out at each mount: the address of a
    server, where people write its name, and what stands in a file of credentials."""
    words = options.options
    file = credentials_file(options)
    if file:
        words = with_credentials(words, _read_credentials(subject, file))
    host = host_to_resolve(options)
    if not host:
        return words
    try:
        return with_address(words, resolve(host, _RESOLVING_SECONDS))
    except OSError as error:
        why = f"error resolving passed in network volume address: {host}: {error}"
        kind = Unavailable if isinstance(error, TimeoutError) else HostFailure
        raise kind(subject, why, "Check the name with: getent hosts") from error


def _read_credentials(subject: str, file: str) -> str:
    try:
        require_answer(file, DEADLINE_SECONDS)
        with Path(file).open(encoding="utf-8", errors="surrogateescape") as text:
            return text.read(_MOST_CREDENTIALS)
    except OSError as error:
        why = f"its file of credentials {file}: {error.strerror}"
        raise HostFailure(subject, why, "Put it there, on the host, or give username= and password=") from error


def _hint(error: OSError, options: MountOptions) -> str:
    if error.errno == errno.ENODEV:
        return f"This kernel has no file system of the type {options.fs_type}"
    if error.errno == errno.ENOTBLK:
        return "It is a file, and no block device: put the word loop into o"
    if error.errno == errno.ENOENT:
        return f"Is {hide_in_device(options.device)} there?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "The server or this host refuses it: check the user name, the password and the export"
    return "Check the volume's options with: docker volume inspect"
