"""The engine's part of losing write access, in a thread of its own: it may wait for storage that gives no answer."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2


class LettingGo:
    def __init__(self, told: Callable[[str], None], volume_id: str) -> None:
        self._told = told
        self._volume_id = volume_id
        self._is_done, self._has_ended = threading.Event(), threading.Event()
        threading.Thread(target=self._work, name=f"letting go of {volume_id[:12]}", daemon=True).start()

    def _work(self) -> None:
        try:
            self._told(self._volume_id)
            self._is_done.set()
        except Exception:
            log.exception("letting go of volume %s", self._volume_id)
        finally:
            self._has_ended.set()

    def wait_until_done(self, is_over: Callable[[], bool]) -> bool:
        """Until nothing can be written any more, or `is_over`: False then. Work that has failed is never done."""
        while not self._is_done.wait(_LOOK_SECONDS):
            if is_over():
                return False
        return True

    def wait_until_ended(self, is_over: Callable[[], bool]) -> bool:
        """Until it returned or failed, or `is_over`: False then."""
        while not self._has_ended.wait(_LOOK_SECONDS):
            if is_over():
                return False
        return True
