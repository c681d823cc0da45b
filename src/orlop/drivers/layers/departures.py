"""Unmounting overlays without waiting for the disk.

When the last use of an overlay ends the kernel flushes the whole file system under it, which takes seconds while a
database next to it is writing. So an unmount first takes a descriptor, which keeps the overlay in use; the tree goes
out of sight at once; and the descriptor is closed, which is what takes so long, on a thread of its own. Until that is
done the layer must not be mounted again: two overlays on one upper directory do not know of each other.
"""

import os
import threading
from pathlib import Path

from orlop.kernel.mounts import MNT_DETACH, unmount


class Departures:
    """Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._under_way: dict[Path, threading.Thread] = {}

    def unmount(self, place: Path) -> None:
        """`place` is no mount point any more. What still stands in it keeps seeing the tree until it leaves."""
        fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            unmount(place, MNT_DETACH)
        except BaseException:
            os.close(fd)
            raise
        thread = threading.Thread(target=self._leave, args=(place, fd), name="unmount", daemon=True)
        with self._guard:
            self._under_way[place] = thread
            thread.start()

    def wait(self, place: Path) -> None:
        """Until the overlay that was mounted here is gone."""
        with self._guard:
            thread = self._under_way.get(place)
        if thread is not None:
            thread.join()

    def _leave(self, place: Path, fd: int) -> None:
        os.close(fd)
        with self._guard:
            if self._under_way.get(place) is threading.current_thread():
                del self._under_way[place]
