"""Deletes in the background what layer drivers only put aside, so that removing an image or a container is quick."""

import logging
import threading

from orlop.drivers.layers.driver import LayerDriver
from orlop.errors import OrlopError

log = logging.getLogger(__name__)


class LayerCleanup:
    """Any number of requests while one runs make one more run."""

    def __init__(self, driver: LayerDriver) -> None:
        self._driver = driver
        self._state = threading.Condition()
        self._wanted = False
        self._running = False

    def request(self) -> None:
        with self._state:
            self._wanted = True
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="layer-cleanup", daemon=True).start()

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing asked for before this call is left to delete, or so long at most."""
        with self._state:
            self._state.wait_for(lambda: not self._running, seconds)

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._wanted:
                    self._running = False
                    self._state.notify_all()
                    return
                self._wanted = False
            try:
                self._driver.cleanup()
            except (OrlopError, OSError) as error:
                log.error("deleting removed layers: %s", error)
