"""The storage itself refuses what a host writes whose time is over: SCSI persistent reservations.

A host that was frozen together with its clock does not know when it wakes up that another writes by now. So the next
one, before it writes, takes the reservation "write exclusive" of the device from the one before it: from then on the
storage answers that one's writes with an error, those on their way too (PREEMPT AND ABORT).

    key     64 bits: "Or", then the epoch of the write access, which grows with each change of hands
    take    registered; then reserved, or taken from a holder with a smaller epoch. A larger one means that our own
            time is over. Preempting names the key that it takes from, so of two at once one fails and looks again
    give    unregistered, the reservation goes with it

Registrants other than the holder may not write ("registrants only" would let them), so one that registers late, with a
time that is over, harms nobody. All of it is done by a process that can be killed.
"""

import os
import secrets
import sys
from contextlib import suppress

from orlop.errors import Conflict, HostFailure, Unsupported
from orlop.kernel.device_look import last_line, run_within
from orlop.kernel.scsi import (
    Change,
    NotKnown,
    ReservationConflict,
    can_last,
    change,
    open_device,
    read_holder,
    read_keys,
)

_COMMAND = (sys.executable, "-m", __name__)
_SECONDS = 30.0
_UNKNOWN, _FOREIGN, _LATE = 75, 76, 77  # how the process ends
_TRIES = 8
_MARK = 0x4F72 << 48
_EPOCHS = (1 << 48) - 1


class NotFenced(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def fence_key(epoch: int) -> int:
    return _MARK | (epoch & _EPOCHS)


def is_ours(key: int) -> bool:
    return key & ~_EPOCHS == _MARK


def take_fence(subject: str, device: str, epoch: int, name: str) -> None:
    """Nobody else writes to the device from here on. Raises Unsupported where it has no reservations that do that,
    Conflict where somebody else has it, TimeoutError."""
    done = run_within(_SECONDS, (*_COMMAND, "take", device, str(epoch)))
    why = f"{name}: {last_line(done)}"
    if done.returncode == _UNKNOWN:
        hint = "via=userspace does without; hosts that are held together with their clock are not fenced by that"
        raise Unsupported(subject, why, hint)
    if done.returncode == _FOREIGN:
        hint = "Let its owner give it back, or clear it yourself: sg_persist --out --clear"
        raise Conflict(subject, why, hint)
    if done.returncode == _LATE:
        raise Conflict(subject, why, "Start the container again: it waits for the write access")
    if done.returncode:
        raise HostFailure(subject, why)


def give_fence(subject: str, device: str, epoch: int) -> None:
    """Taken from us meanwhile is success. Raises HostFailure, TimeoutError."""
    done = run_within(_SECONDS, (*_COMMAND, "give", device, str(epoch)))
    if done.returncode:
        raise HostFailure(subject, f"its reservation stays: {last_line(done)}")


def take(fd: int, epoch: int) -> None:
    own = fence_key(epoch)
    _register(fd, own)
    try:
        _require_abort(fd, own)
        _reserve(fd, own)
        for key in read_keys(fd):
            if is_ours(key) and key < own:
                _preempt(fd, own, key)
    except BaseException:
        with suppress(OSError):  # a registration that stays harms nobody; why it was not taken is what counts
            give(fd, epoch)
        raise


def _register(fd: int, own: int) -> None:
    try:
        read_keys(fd)
        change(fd, Change.REGISTER_AND_IGNORE, 0, own, can_last(fd))
    except NotKnown as error:
        raise NotFenced(_UNKNOWN, "it has no persistent reservations") from error


def _require_abort(fd: int, own: int) -> None:
    """Before one is needed. Nobody has the key that this asks to preempt."""
    try:
        change(fd, Change.PREEMPT_AND_ABORT, own, secrets.randbits(63) | 1)
    except ReservationConflict:
        return
    except NotKnown as error:
        why = "its persistent reservations do not end what is on its way (PREEMPT AND ABORT)"
        raise NotFenced(_UNKNOWN, why) from error


def _reserve(fd: int, own: int) -> None:
    for _ in range(_TRIES):
        holder = read_holder(fd)
        if holder == own:
            return
        try:
            if not holder:
                change(fd, Change.RESERVE, own)
            elif not is_ours(holder):
                raise NotFenced(_FOREIGN, f"something else has reserved it, with the key {holder:#018x}")
            elif holder > own:
                raise NotFenced(_LATE, "another host has write access since")
            else:
                change(fd, Change.PREEMPT_AND_ABORT, own, holder)
        except ReservationConflict:
            continue  # somebody was faster
    raise NotFenced(1, "its reservation changes hands all the time")


def _preempt(fd: int, own: int, key: int) -> None:
    try:
        change(fd, Change.PREEMPT_AND_ABORT, own, key)
    except ReservationConflict:
        return  # it has gone


def give(fd: int, epoch: int) -> None:
    try:
        change(fd, Change.REGISTER, fence_key(epoch), 0)
    except ReservationConflict:
        return


def main() -> None:
    work, device, epoch = sys.argv[1:]
    try:
        fd = open_device(device)
        (take if work == "take" else give)(fd, int(epoch))
        os.close(fd)
    except NotFenced as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
