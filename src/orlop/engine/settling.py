"""Makes durable, soon and many at a time, what drivers did and the journal already remembers.

Creating or retiring a volume waits for one commit of the journal and for nothing else: the journal says what is wished,
and a mark in it says that the disk may not have heard yet. After a power cut the marks are looked at and what is
missing is done again. A mark goes once its driver has settled; whoever is about to put data somewhere calls `ensure`
first, so that no data ever depends on a mark.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence

from orlop.drivers.volumes.abilities import Settling
from orlop.errors import OrlopError
from orlop.model.value import dataclass
from orlop.store.journal import Change, Journal

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.2  # without anything new, until what there is is settled,
LONGEST_GATHER_SECONDS = 1.0  # or so long: whoever makes volumes meanwhile waits for the same disk
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Unsettled:
    driver: Settling
    names: frozenset[str]
    marks: tuple[Change, ...]  # what drops the marks


class Settler:
    """Thread-safe. The thread is there only while something is unsettled."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._settling = threading.Lock()  # one at a time, so that `ensure` returns after whoever was first
        self._waiting: list[_Unsettled] = []
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._closed = False

    def add(self, driver: Settling, names: Iterable[str], marks: Sequence[Change]) -> None:
        """Called once the journal has the marks, or together with their commit."""
        with self._lock:
            self._waiting.append(_Unsettled(driver, frozenset(names), tuple(marks)))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
                self._thread.start()

    def drop(self, marks: Sequence[Change]) -> None:
        """Not waited for, nor written for its own sake: a mark that outlives its cause makes the next start look, and
        find everything as it is."""
        self._journal.note(*marks)

    def ensure(self, name: str) -> None:
        """What was done to the volume of that name survives a power cut once this returns. Raises OSError."""
        if not self._waiting:
            return
        with self._settling:
            if any(name in unsettled.names for unsettled in self._waiting):
                self._settle()

    def hurry(self) -> None:
        """Somebody will call `ensure` in a moment: begin now."""
        self._hurry.set()

    def close(self) -> None:
        """Settle what is left; what cannot be keeps its mark for the next start."""
        with self._lock:
            self._closed = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()
        self._try_to_settle()

    def _run(self) -> None:
        while not self._closed:
            self._gather()
            if not self._try_to_settle():
                self._hurry.wait(RETRY_SECONDS)
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return

    def _gather(self) -> None:
        until, count = time.monotonic() + LONGEST_GATHER_SECONDS, -1
        while count != len(self._waiting) and time.monotonic() < until:
            count = len(self._waiting)
            if self._hurry.wait(GATHER_SECONDS):
                break
        self._hurry.clear()

    def _try_to_settle(self) -> bool:
        try:
            with self._settling:
                self._settle()
        except (OrlopError, OSError) as error:
            log.error("the disk does not take what was done to volumes; trying again: %s", error)
            return False
        return True

    def _settle(self) -> None:
        with self._lock:
            batch = list(self._waiting)
        for driver in {id(found.driver): found.driver for found in batch}.values():
            driver.settle()
            mine = [found for found in batch if found.driver is driver]
            # First the marks: what the journal is told by somebody whom `ensure` let pass must come after.
            self.drop([mark for found in mine for mark in found.marks])
            with self._lock:
                self._waiting = [found for found in self._waiting if not any(found is done for done in mine)]
