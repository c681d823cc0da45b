"""One SCSI command to a block device (SG_IO, sg(4)), and its persistent reservations (SPC-4, PERSISTENT RESERVE IN and
OUT). The block layer has calls of its own for these (linux/pr.h), but none to read who has reserved.
"""

import ctypes
import errno
import fcntl
import os
import struct
import time
from enum import IntEnum

from orlop.model.value import dataclass

_SG_IO = 0x2285
_NONE, _TO_DEVICE, _FROM_DEVICE = -1, -2, -3
_TIMEOUT_MS = 20_000
_TRIES, _PAUSE_SECONDS = 20, 0.1

_GOOD, _CHECK, _BUSY, _CONFLICT, _FULL = 0x00, 0x02, 0x08, 0x18, 0x28
_ILLEGAL, _ATTENTION = 0x05, 0x06

_PR_IN, _PR_OUT = 0x5E, 0x5F
_READ_KEYS, _READ_RESERVATION, _CAPABILITIES = 0, 1, 2
_MOST_BYTES = 4096
_LASTING = 1  # APTPL: registrations and reservation outlive a power cut of the storage
_CAN_LAST = 1  # PTPL_C


class Change(IntEnum):
    """Service actions of PERSISTENT RESERVE OUT."""

    REGISTER = 0
    RESERVE = 1
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE = 6


WRITE_EXCLUSIVE = 1  # who reserved it writes; everybody reads


class ReservationConflict(OSError):
    """The device did nothing: somebody else has reserved it, or the key is not what it was."""


class NotKnown(OSError):
    """The device does not know that command, or not this form of it."""


class _Header(ctypes.Structure):
    """struct sg_io_hdr"""

    _fields_ = [
        ("interface_id", ctypes.c_int),
        ("direction", ctypes.c_int),
        ("command_bytes", ctypes.c_ubyte),
        ("most_sense_bytes", ctypes.c_ubyte),
        ("vectors", ctypes.c_ushort),
        ("data_bytes", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("command", ctypes.c_void_p),
        ("sense", ctypes.c_void_p),
        ("timeout_ms", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("message_status", ctypes.c_ubyte),
        ("sense_bytes", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("left", ctypes.c_int),
        ("duration_ms", ctypes.c_uint),
        ("info", ctypes.c_uint),
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    sense_key: int
    host_status: int = 0


def parse_sense(sense: bytes) -> int:
    """The sense key, of either format; 0 where there is none."""
    if len(sense) < 3:
        return 0
    return sense[1] & 0xF if sense[0] & 0x7F in (0x72, 0x73) else sense[2] & 0xF


def _send(fd: int, command: bytes, data: "ctypes.Array[ctypes.c_char]", direction: int) -> Answer:
    sense = ctypes.create_string_buffer(64)
    packed = ctypes.create_string_buffer(command, len(command))
    header = _Header(interface_id=ord("S"), direction=direction, timeout_ms=_TIMEOUT_MS)
    header.command_bytes, header.command = len(command), ctypes.addressof(packed)
    header.most_sense_bytes, header.sense = len(sense), ctypes.addressof(sense)
    header.data_bytes, header.data = len(data), ctypes.addressof(data)
    fcntl.ioctl(fd, _SG_IO, header)
    return Answer(header.status, parse_sense(sense.raw[: header.sense_bytes]), header.host_status)


def _ask(fd: int, what: str, command: bytes, data: "ctypes.Array[ctypes.c_char]", direction: int) -> None:
    """Again where the device only had news (a reset, another's preemption) or was busy."""
    for _ in range(_TRIES):
        answer = _send(fd, command, data, direction)
        if answer.status == _GOOD and not answer.host_status:
            return
        if answer.status == _CONFLICT:
            raise ReservationConflict(errno.EBUSY, f"{what}: reservation conflict")
        if answer.status == _CHECK and answer.sense_key == _ILLEGAL:
            raise NotKnown(errno.EOPNOTSUPP, f"{what}: the device does not know it")
        if not (answer.status in (_BUSY, _FULL) or (answer.status == _CHECK and answer.sense_key == _ATTENTION)):
            break
        time.sleep(_PAUSE_SECONDS)
    raise OSError(
        errno.EIO,
        f"{what}: status {answer.status:#x}, sense key {answer.sense_key:#x}, transport {answer.host_status:#x}",
    )


def _read(fd: int, what: int) -> bytes:
    data = ctypes.create_string_buffer(_MOST_BYTES)
    _ask(fd, "PERSISTENT RESERVE IN", struct.pack(">BB5xHx", _PR_IN, what, _MOST_BYTES), data, _FROM_DEVICE)
    return data.raw


def read_keys(fd: int) -> list[int]:
    """Of all that are registered. Raises NotKnown where the device has no persistent reservations."""
    return parse_keys(_read(fd, _READ_KEYS))


def parse_keys(data: bytes) -> list[int]:
    (length,) = struct.unpack_from(">I", data, 4)
    length = min(length, len(data) - 8)
    return [key for (key,) in struct.iter_unpack(">Q", data[8 : 8 + length // 8 * 8])]


def read_holder(fd: int) -> int:
    """The key of who has reserved it; 0 where nobody has."""
    return parse_holder(_read(fd, _READ_RESERVATION))


def parse_holder(data: bytes) -> int:
    length, key = struct.unpack_from(">IQ", data, 4)
    return int(key) if length >= 16 else 0


def can_last(fd: int) -> bool:
    """Whether reservations can outlive a power cut of the storage."""
    try:
        return bool(_read(fd, _CAPABILITIES)[2] & _CAN_LAST)
    except NotKnown:
        return False


def change(fd: int, what: Change, key: int, other: int = 0, lasting: bool = False) -> None:
    """`other`: the new key (0: none any more) of a registration, or the one whose holder is preempted."""
    command = struct.pack(">BBB2xIx", _PR_OUT, what, WRITE_EXCLUSIVE, 24)
    data = ctypes.create_string_buffer(struct.pack(">QQ4xB3x", key, other, _LASTING if lasting else 0), 24)
    _ask(fd, f"PERSISTENT RESERVE OUT ({what.name})", command, data, _TO_DEVICE)


def open_device(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
