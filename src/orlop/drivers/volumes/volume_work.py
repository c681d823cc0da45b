"""What the daemon before left at work on a volume comes to its end before anybody looks at the volume.

<run>/busy/<id>     locked by those at work (kernel/work_lock)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orlop.errors import Unavailable
from orlop.kernel.work_lock import wait_for_work, work_on

WAIT_SECONDS = 60.0


class VolumeWork:
    """Of this process. What it gave up waiting for itself it knows of, and does not wait for again."""

    def __init__(self, run: Path) -> None:
        self._root = run / "busy"
        self._settled: set[str] = set()

    @contextmanager
    def on(self, subject: str, volume_id: str) -> Iterator[None]:
        """The caller has the volume locked. Raises Unavailable."""
        path = self._root / volume_id
        if volume_id not in self._settled:
            try:
                wait_for_work(path, WAIT_SECONDS)
            except TimeoutError as error:
                why = "a program that the daemon before started is still at work on it"
                raise Unavailable(subject, why, "Check that the storage answers; it is tried again") from error
            self._settled.add(volume_id)
        with work_on(path):
            yield

    def forget(self, volume_id: str) -> None:
        """It has gone."""
        self._settled.discard(volume_id)
        (self._root / volume_id).unlink(missing_ok=True)
