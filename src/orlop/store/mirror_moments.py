"""When is a file settled: can nobody have changed it since it was read without our noticing it the next time?

It is when its time of change is older than the syncfs that began before it was read. That is enough for memory that is
mapped, too: a write to a page that is dirty already changes no time, but syncfs makes the page clean, and the first
write after that does. A single long write changes the time only when it begins, and one that was handed to the kernel
goes on without its process; so what changed shortly before a pass is read once more in the next, and what changed just
before it once more at its end.

Not every file system keeps such times (memory keeps none for what is mapped, servers have clocks of their own). There
every file is read in every pass.
"""

import os
import time
from typing import Self

from orlop.kernel.filesystems import filesystem_name, syncfs

SECOND_NS = 10**9
_FIRM_NS = 60 * SECOND_NS  # what was changed within so long before a pass is read again in the next
_JUST_NS = 3 * SECOND_NS  # ... and at the end of the same
_CLOCK = 5  # CLOCK_REALTIME_COARSE: what file systems take times from
_KEEP_TIMES = ("extfs", "xfs", "btrfs")


class Moment:
    """When a pass began."""

    def __init__(self, began_ns: int, keeps_times: bool) -> None:
        self.began_ns = began_ns
        self._keeps_times = keeps_times

    @classmethod
    def now(cls, source_fd: int) -> Self:
        """Every change before this call has an older time than this moment, and every later one has not."""
        keeps_times = filesystem_name(source_fd) in _KEEP_TIMES
        now = time.time_ns()
        if _grain(os.fstat(source_fd)) > 1:
            now = (now // SECOND_NS + 1) * SECOND_NS - 1
        while (moment := time.clock_gettime_ns(_CLOCK)) <= now:
            time.sleep(min((now - moment) / SECOND_NS + 0.001, 1.0))
        syncfs(source_fd)
        return cls(moment, keeps_times)

    def is_as_it_was(self, changed_ns: int, read_at_ns: int, details: os.stat_result) -> bool:
        """Of what a pass that began at `read_at_ns` read when it had changed at `changed_ns`: whether it need not be
        read again."""
        return self._keeps_times and changed_ns == details.st_ctime_ns and changed_ns < read_at_ns - _FIRM_NS

    def is_settled(self, before: os.stat_result, after: os.stat_result) -> bool:
        """As it was before it was read, and after."""
        if (before.st_ctime_ns, before.st_mtime_ns, before.st_size) != (
            after.st_ctime_ns,
            after.st_mtime_ns,
            after.st_size,
        ):
            return False
        if not self._keeps_times or before.st_ctime_ns + _grain(before) <= self.began_ns:
            return True
        # Of a time that is yet to come: whoever changes it now gives it another.
        return before.st_ctime_ns > time.time_ns() + SECOND_NS

    def has_just_changed(self, details: os.stat_result) -> bool:
        return self._keeps_times and details.st_ctime_ns >= self.began_ns - _JUST_NS


def _grain(details: os.stat_result) -> int:
    """How much later a change may be than its time says: ext4 with small inodes keeps whole seconds."""
    return 1 if details.st_ctime_ns % SECOND_NS else SECOND_NS
