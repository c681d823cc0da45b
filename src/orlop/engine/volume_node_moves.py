"""Moves of volumes between hosts, both sides of them: one thread that hears of news, and asks again while something is
left that only the cluster can decide."""

import logging
import queue
import threading

from orlop.cluster.contract import Cluster
from orlop.engine.volume_arrivals import VolumeArrivals
from orlop.engine.volume_departures import VolumeDepartures
from orlop.errors import OrlopError

log = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 2.0


class VolumeNodeMoves:
    def __init__(self, departures: VolumeDepartures, arrivals: VolumeArrivals) -> None:
        self.departures = departures
        self.arrivals = arrivals
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_told = False  # of trouble, which the log knows
        self._thread: threading.Thread | None = None

    def load(self) -> None:
        """Before the API is served."""
        self.departures.ends.load()
        self.arrivals.load()

    def start(self, cluster: Cluster) -> None:
        self.arrivals.join(cluster)
        cluster.on_move(lambda volume_id: self._news.put(True))
        self._news.put(True)
        self._thread = threading.Thread(target=self._run, name="volumes on their way", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.arrivals.close()
        self._news.put(False)
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        is_first = True
        while self._wait():
            try:
                if is_first:
                    self.departures.ends.tell_left_again()
                    is_first = False
                self.arrivals.look()
                self.departures.look()
                self._is_told = False
            except (OrlopError, OSError) as error:
                if not self._is_told:
                    log.warning("what is left of a volume's move is seen to later: %s", error)
                self._is_told = True
            except Exception:
                log.exception("looking at volumes on their way")

    def _wait(self) -> bool:
        """False at the end."""
        is_unsettled = self._is_told or self.arrivals.is_unsettled or self.departures.is_unsettled
        try:
            goes_on = self._news.get(timeout=_ASK_AGAIN_SECONDS if is_unsettled else None)
        except queue.Empty:
            return True
        while goes_on and not self._news.empty():
            goes_on = self._news.get()
        return goes_on
