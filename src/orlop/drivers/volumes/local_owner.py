"""The owner and mode that a volume's options give its top directory: of the top alone, whatever is in it.

A plain directory has them from the start, memory by the options of its mount. A disk of the user's gets them the first
time that it is mounted (`owner_pending` in opts.json says so); later changes are its users' business.
"""

import os
from dataclasses import replace

from orlop.drivers.volumes.local_record import render_options
from orlop.drivers.volumes.local_rules import MountOptions
from orlop.drivers.volumes.volume_directory import DATA, OPTIONS, VolumeDirectory, entered, replace_file


def give_owner(fd: int, options: MountOptions) -> None:
    """To an open directory. Nothing that the options leave open changes."""
    if options.uid is not None or options.gid is not None:
        # chown first: it may clear bits of the mode.
        os.fchown(fd, _or_same(options.uid), _or_same(options.gid))
    if options.mode is not None:
        os.fchmod(fd, options.mode)


def give_pending_owner(volume: VolumeDirectory, options: MountOptions) -> None:
    """To what is mounted on `_data` now."""
    if not options.owner_pending:
        return
    with entered(volume.fd, DATA) as data_fd:
        give_owner(data_fd, options)
    if options.fs_type != "ramfs":
        replace_file(volume.fd, OPTIONS, render_options(replace(options, owner_pending=False)))


def _or_same(number: int | None) -> int:
    return -1 if number is None else number
