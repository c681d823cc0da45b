"""A device of the SAN, as a block device of this host: what is on it, a file system made, checked and grown.

Everything that reads or writes it is done by a program with a deadline. What is on it decides:

    nothing            a file system is made, under an id that the volume's record has before (`blank-only`)
    the file system    of the volume's record: it is checked, grown where the device grew, and mounted
    another one        the first time, it is the volume's from then on; later it is the wrong device, and refused
    anything else      refused; nothing here ever writes over it
"""

import logging
import re

from orlop.drivers.volumes.san_options import FILE_SYSTEMS, Format, Fsck, SanOptions
from orlop.errors import Conflict, HostFailure, OrlopError, Unsupported
from orlop.kernel import ext4, xfs
from orlop.kernel.device_look import DeviceLook, last_line, look_within, run_within
from orlop.kernel.programs import find_system_program
from orlop.model.sizes import describe_size
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
MAKE_SECONDS = 300.0
CHECK_SECONDS = 900.0

_NOTHING, _AMBIVALENT = 2, 8  # how blkid ends
_MENDED, _MENDED_REBOOT = 1, 2  # how e2fsck ends when all is well now
_LEAST_GROWTH = 1 << 20
_PACKAGES = {"mkfs.xfs": "xfsprogs", "blkid": "util-linux"}


@dataclass(frozen=True, slots=True)
class Content:
    """What there is on a device."""

    size_bytes: int
    has_zero_ends: bool
    signature: str = ""  # of what blkid knows, for people
    fs_type: str = ""  # of what a volume can be
    uuid: str = ""
    fs_bytes: int = 0

    @property
    def is_blank(self) -> bool:
        return self.has_zero_ends and not self.signature

    @property
    def can_grow(self) -> bool:
        return self.fs_type == "ext4" and self.size_bytes >= self.fs_bytes + _LEAST_GROWTH


def look_at_device(subject: str, path: str) -> Content:
    """Raises HostFailure where it cannot be read, TimeoutError where it does not answer."""
    look = _read(subject, path)
    done = run_within(LOOK_SECONDS, (_find(subject, "blkid"), "-p", "-o", "export", path))
    if done.returncode == _NOTHING:
        return Content(look.size_bytes, look.has_zero_ends)
    if done.returncode == _AMBIVALENT:
        return Content(look.size_bytes, look.has_zero_ends, "the marks of more than one file system")
    if done.returncode:
        raise HostFailure(subject, f"blkid failed: {last_line(done)}")
    found = dict(re.findall(r"^([A-Z_]+)=(.*)$", done.stdout.decode(errors="replace"), re.MULTILINE))
    fs_type, uuid = found.get("TYPE", ""), found.get("UUID", "")
    signature = fs_type or f"a partition table ({found.get('PTTYPE', 'of some kind')})"
    if fs_type not in FILE_SYSTEMS or not uuid:
        return Content(look.size_bytes, look.has_zero_ends, signature)
    return Content(look.size_bytes, look.has_zero_ends, signature, fs_type, uuid, _fs_bytes(look, fs_type))


def _read(subject: str, path: str) -> DeviceLook:
    try:
        return look_within(LOOK_SECONDS, path)
    except TimeoutError:
        raise
    except OSError as error:
        raise HostFailure(subject, f"the device cannot be read: {error.strerror}") from error


def _fs_bytes(look: DeviceLook, fs_type: str) -> int:
    try:
        if fs_type == "ext4":
            return ext4.total_bytes(look.head[ext4.SUPERBLOCK_OFFSET :][: ext4.SUPERBLOCK_BYTES])
        blocks, size = xfs.total_blocks(look.head)
        return blocks * size
    except ValueError:
        return look.size_bytes


def refuse_unfit(subject: str, options: SanOptions, content: Content, uuid: str, is_being_made: bool) -> None:
    """Raises Conflict where that device is not the volume's, or holds what is none of our business. `uuid`: of the
    file system that the volume has, "" before its first attach."""
    device = options.device
    if not content.fs_type:
        if content.is_blank or (is_being_made and not content.signature):
            if uuid and not is_being_made:
                why = f"{device} is blank, and this volume's file system has the id {uuid}"
                raise Conflict(subject, why, "Is it another device? Nothing was written to it")
            _refuse_to_make(subject, options)
            return
        signature = content.signature or "data that no program here knows"
        why = f"{device} holds something ({signature}), and no file system that a volume can be"
        raise Conflict(subject, why, "Nothing was written to it. Give another one, or wipe this one yourself: wipefs")
    if uuid and content.uuid != uuid:
        why = f"{device} holds another file system ({content.uuid}) than this volume's ({uuid})"
        raise Conflict(subject, why, "Is it another device? For what is on it, create a volume of its own")
    if options.fs_type and content.fs_type != options.fs_type:
        why = f"{device} holds {content.fs_type}, and fstype={options.fs_type} was asked for"
        raise Conflict(subject, why, f"Nothing was written to it. For what is there: fstype={content.fs_type}")


def _refuse_to_make(subject: str, options: SanOptions) -> None:
    if options.read_only:
        why = f"{options.device} is blank, and the volume is read-only"
        raise Conflict(subject, why, "Attach it once without read-only, and a file system is made")
    if options.format is Format.NEVER:
        why = f"{options.device} is blank, and format=never"
        raise Conflict(subject, why, "Make a file system on it yourself, or update the volume with format=blank-only")


def make_file_system(subject: str, path: str, fs_type: str, uuid: str) -> None:
    """The caller has looked: the device holds nothing, or what such a call left that was cut off."""
    if fs_type == "xfs":
        command = ["mkfs.xfs", "-q", "-f", "-K", "-m", f"uuid={uuid}", path]
    else:
        # Who it was made for finds an empty directory and no blocks set aside for root.
        extended = "nodiscard,root_owner=0:0"
        command = ["mkfs.ext4", "-q", "-F", "-m", "0", "-U", uuid, "-e", "remount-ro", "-E", extended, path]
    done = run_within(MAKE_SECONDS, (_find(subject, command[0]), *command[1:]))
    if done.returncode:
        raise HostFailure(subject, f"{command[0]} failed: {last_line(done)}")


def check_file_system(subject: str, path: str, content: Content, options: SanOptions) -> None:
    """Before it is mounted. XFS has nothing to be done: its log is replayed by the mount."""
    if content.fs_type != "ext4" or options.fsck is Fsck.NEVER or options.read_only:
        return
    grows = content.can_grow
    thorough = ("-f",) if grows or options.fsck is Fsck.ALWAYS else ()
    done = run_within(CHECK_SECONDS, (_find(subject, "e2fsck"), "-p", *thorough, path))
    if done.returncode & ~(_MENDED | _MENDED_REBOOT):
        hint = f"Attach {options.device} to a host by hand and run e2fsck on it; a copy first is a good idea"
        raise HostFailure(subject, f"its file system is damaged, and e2fsck -p does not mend it: {_said(done)}", hint)
    if done.returncode:
        log.warning("%s: e2fsck mended its file system: %s", subject, _said(done))
    if grows:
        _grow_unmounted(subject, path, content)


def _grow_unmounted(subject: str, path: str, content: Content) -> None:
    """Less room than there could be is no reason to refuse the data."""
    try:
        done = run_within(CHECK_SECONDS, (_find(subject, "resize2fs"), path))
        if done.returncode:
            log.warning("%s: its file system stays smaller than its device: %s", subject, last_line(done))
            return
    except OrlopError as error:
        log.warning("%s: its file system stays smaller than its device: %s", subject, error)
        return
    log.info("%s: its file system grew to %s", subject, describe_size(content.size_bytes))


def _said(done: object) -> str:
    text = getattr(done, "stdout", b"") or getattr(done, "stderr", b"")
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])


def _find(subject: str, program: str) -> str:
    found = find_system_program(program)
    if found is None:
        package = _PACKAGES.get(program, "e2fsprogs")
        raise Unsupported(subject, f"{program} is not installed", f"Install {package}")
    return found
