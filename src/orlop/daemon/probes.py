"""What the daemon finds out about its host by trying, while it is still importing what will use it: a start waits for
processes here that need no interpreter.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from orlop.daemon.config import Settings
from orlop.drivers.layers.probe import choose
from orlop.drivers.runtimes.probe import KNOWN, FoundRuntime, find_runtime

T = TypeVar("T")

Probed = Callable[[], T]  # waits for the answer, and raises what was raised


class Probes:
    def __init__(self, settings: Settings) -> None:
        """Of a data root that is ours already."""
        names = dict.fromkeys(filter(None, (settings.runtime, *KNOWN)))
        self.runtimes: Mapping[str, Probed[FoundRuntime]] = {name: _begin(find_runtime, name) for name in names}
        self.layers: Probed[str] = _begin(choose, settings.data_root, settings.storage_driver)


def _begin(probe: Callable[..., T], *arguments: object) -> Probed[T]:
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(probe(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised where the answer is wanted
            answer.set_exception(error)

    threading.Thread(target=run, name=f"probe {probe.__name__}", daemon=True).start()
    return answer.result
