"""A SAN volume's file system on `_data`: mounted, unmounted, grown, each by what has a deadline.

Storage that is cut off makes whoever waits for it wait until it is back; the end of the program makes everything end
with errors. So what must not wait for ever ends the program, except where that would lose what was written.
"""

import errno
import logging
import os
import uuid
from dataclasses import replace

from orlop.drivers.volumes.device_lease import DeviceLeases, Holder
from orlop.drivers.volumes.san_device import (
    MAKE_SECONDS,
    Content,
    check_file_system,
    look_at_device,
    make_file_system,
    refuse_unfit,
)
from orlop.drivers.volumes.san_options import SanOptions
from orlop.drivers.volumes.san_record import SanRecord, write_record
from orlop.drivers.volumes.san_ways import Chain
from orlop.drivers.volumes.san_work import work_within
from orlop.drivers.volumes.volume_directory import VolumeDirectory
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.kernel import mounts
from orlop.kernel.device_look import last_line, run_within
from orlop.kernel.mount_process import mount_within, unmount_within
from orlop.model.sizes import describe_size

log = logging.getLogger(__name__)

MOUNT_SECONDS = 120.0
SYNC_SECONDS = 60.0
_GROW_SECONDS = 120.0
_AWAY = "Check that the storage runs and can be reached from here"


def mount_device(
    volume: VolumeDirectory, record: SanRecord, options: SanOptions, chain: Chain, leases: DeviceLeases
) -> None:
    """On `_data`. Raises Conflict for a device that is not the volume's or that another volume uses, Unavailable where
    it does not answer; then all is as before."""
    subject, holder = f"attaching volume {volume.name}", Holder(record.id, volume.name)
    leases.acquire(subject, options.device.key, holder)
    try:
        if not chain.is_alive:
            chain.start(subject, options)
        with chain.device(subject, options.read_only) as (_, device):
            content = look_at_device(subject, device)
            if not _is_mounted_somewhere(device):
                content = _prepare(subject, volume, record, options, device, content, leases)
            elif record.is_being_made:
                why = "a file system is being made on its device"
                raise Unavailable(subject, why, "Try again once whoever does so has ended")
            _mount(subject, volume, options, device, content, options.discard and chain.passes_discards)
    except BaseException as error:
        if isinstance(error, TimeoutError):
            chain.clear()
        else:
            _end(subject, chain)
        leases.release(holder)
        if isinstance(error, TimeoutError):
            raise Unavailable(subject, f"{options.device} does not answer: {error.strerror or error}", _AWAY) from error
        raise


def _end(subject: str, chain: Chain) -> None:
    try:
        chain.end()
    except OrlopError as error:
        log.error("%s: %s", subject, error)


def _is_mounted_somewhere(device: str) -> bool:
    """In another mount namespace: it was not let go of there, so it is clean, and nobody may touch it from below."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def _prepare(
    subject: str,
    volume: VolumeDirectory,
    record: SanRecord,
    options: SanOptions,
    device: str,
    content: Content,
    leases: DeviceLeases,
) -> Content:
    """What is on the device is the volume's, checked, and as large as the device."""
    refuse_unfit(subject, options, content, record.uuid, record.is_being_made)
    if record.is_being_made or not content.fs_type:
        record = _make(subject, volume, record, options, device)
        content = look_at_device(subject, device)
    # The same device may be known by another address; the file system on it is the same by any.
    leases.acquire(subject, f"the file system {content.uuid}", Holder(record.id, volume.name))
    if not record.uuid:
        write_record(volume, replace(record, uuid=content.uuid))
    check_file_system(subject, device, content, options)
    return content


def _make(subject: str, volume: VolumeDirectory, record: SanRecord, options: SanOptions, device: str) -> SanRecord:
    """What a crash cuts off begins anew: until it is whole, nobody has written to it."""
    record = replace(record, uuid=record.uuid or str(uuid.uuid4()), is_being_made=True)
    write_record(volume, record)
    fs_type = options.fs_type or "ext4"
    make_file_system(subject, device, fs_type, record.uuid)
    owner = {"uid": options.uid, "gid": options.gid, "mode": options.mode}
    work_within(MAKE_SECONDS, subject, "dress", device=device, fs_type=fs_type, **owner)
    record = replace(record, is_being_made=False)
    write_record(volume, record)
    log.info("%s: made a file system (%s) on %s", subject, fs_type, options.device)
    return record


def _mount(
    subject: str, volume: VolumeDirectory, options: SanOptions, device: str, content: Content, discards: bool
) -> None:
    flags = mounts.MS_RDONLY if options.read_only else 0
    words = ["discard"] if discards and not options.read_only else []
    words += ["data=journal"] if options.data_journal and content.fs_type == "ext4" else []
    words += ["nouuid"] if content.fs_type == "xfs" else []  # one that died may still be held by who used it
    try:
        mount_within(MOUNT_SECONDS, device, str(volume.data_path), content.fs_type, flags, ",".join(words))
    except TimeoutError:
        raise
    except OSError as error:
        mending = "xfs_repair" if content.fs_type == "xfs" else "e2fsck -f"
        hint = f"Look at the kernel's log (dmesg); a damaged file system is mended by {mending}, on the device, by hand"
        if options.read_only:
            hint = "Was it not unmounted cleanly? Attach it once without read-only, and its journal is replayed"
        raise HostFailure(subject, f"its {content.fs_type} cannot be mounted: {error.strerror}", hint) from error
    if content.fs_type == "xfs" and content.size_bytes > content.fs_bytes and not options.read_only:
        _grow(subject, volume, device, content.size_bytes, content.fs_type)


def grow_mounted(volume: VolumeDirectory, chain: Chain) -> None:
    """Where the device has grown, what is mounted grows too. Where that cannot be, it is as large as before."""
    subject = f"growing volume {volume.name}"
    try:
        if growth := chain.growth(subject):
            entry = next(entry for entry in mounts.read_mounts() if entry.source == growth.device)
            _grow(subject, volume, growth.device, growth.size_bytes, entry.fs_type, growth.disk)
    except (OrlopError, OSError, StopIteration) as error:
        log.warning("%s: it stays as large as it was: %s", subject, error)


def _grow(subject: str, volume: VolumeDirectory, device: str, size: int, fs_type: str, disk: str = "") -> None:
    arguments = {"device": device, "disk": disk, "size": size, "data": str(volume.data_path), "fs_type": fs_type}
    try:
        work_within(_GROW_SECONDS, subject, "grow", **arguments)
        log.info("%s: its file system has %s now", subject, describe_size(size))
    except PermissionError:
        log.warning("%s: the kernel lets this process not grow it (CAP_SYS_RESOURCE); the next attach does", subject)
    except (HostFailure, TimeoutError) as error:
        log.warning("%s: it stays as large as it was: %s", subject, error)


def unmount_device(volume: VolumeDirectory, chain: Chain) -> None:
    """Everything that was written is on the device when this returns. Raises Unavailable where it is not yet: then it
    stays mounted."""
    subject = f"detaching volume {volume.name}"
    path = str(volume.data_path)
    if not chain.is_alive:
        log.error("%s: its device is gone, and what was written last may not have reached the device", subject)
        mounts.unmount(path, mounts.MNT_DETACH)
        return
    try:
        done = run_within(SYNC_SECONDS, ("sync", "-f", path))
        if done.returncode:
            # Its users were told when they synced. That is no reason to stay mounted for ever.
            log.error("%s: not everything reached the device: %s", subject, last_line(done))
        unmount_within(SYNC_SECONDS, path)
    except TimeoutError as error:
        why = "the storage does not answer, and what was written last is not there yet"
        raise Unavailable(subject, f"{why}; it stays mounted until it is", _AWAY) from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            run_within(SYNC_SECONDS, ("umount", "-l", path))  # it is all on the device: the sync said so
        elif error.errno != errno.EINVAL:
            raise
