"""Somebody who keeps putting a symbolic link where a directory is, and the directory back: as fast as it can."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Swapper:
    """`swaps` counts how often the link was really there; `stop` puts the directory back."""

    def __init__(self, place: Path, target: Path) -> None:
        self.swaps = 0
        self._place = place
        self._target = target
        self._aside = place.with_name(f"{place.name}-aside")
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        link = self._place.with_name(f"{self._place.name}-link")
        link.symlink_to(self._target)
        while not self._stopping.is_set():
            try:
                self._place.rename(self._aside)
                link.rename(self._place)
                self.swaps += 1
                self._place.rename(link)
                self._aside.rename(self._place)
            except OSError:  # somebody took one of them away, or made another: that is what the test is about
                self._settle(link)
        self._settle(link)
        link.unlink(missing_ok=True)

    def _settle(self, link: Path) -> None:
        with suppress(OSError):
            if self._place.is_symlink():
                self._place.rename(link)
        with suppress(OSError):
            if self._aside.exists():
                if self._place.exists():
                    self._place.rename(self._place.with_name(f"theirs-{next(self._numbers)}"))
                self._aside.rename(self._place)
        if not os.path.lexists(link):
            with suppress(OSError):
                link.symlink_to(self._target)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def swapping(place: Path, target: Path) -> Iterator[Swapper]:
    swapper = Swapper(place, target)
    try:
        yield swapper
    finally:
        swapper.stop()


def rounds(swapper: Swapper, least: int = 60, swaps: int = 200, most: int = 20_000) -> Iterator[int]:
    """At least so many rounds, and on until there were so many swaps."""
    for number in range(most):
        if number >= least and swapper.swaps >= swaps:
            return
        yield number
    raise AssertionError(f"{swapper.swaps} swaps in {most} rounds: nothing was tried")
