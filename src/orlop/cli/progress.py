"""A line on the terminal that shows how far a long transfer is: on stderr, and only where that is a terminal."""

import os
import sys
import time

from orlop.cli.human import render_size

_REDRAW_SECONDS = 0.1
_BAR_CELLS = 24


class Progress:
    """Counts bytes. `total` 0 means that nobody knows it. Used as a context manager, so that the line is gone after."""

    def __init__(self, label: str, total_bytes: int = 0, quiet: bool = False) -> None:
        self._label = label
        self._total = total_bytes
        self._done = 0
        self._visible = not quiet and os.isatty(2)
        self._started = self._drawn = time.monotonic()
        self._has_line = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._visible and now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._draw(render_progress(self._label, self._done, self._total, now - self._started))

    def show(self, text: str) -> None:
        """A line of the daemon's own, such as the step that it has come to."""
        if self._visible:
            self._draw(text)

    def clear(self) -> None:
        if self._has_line:
            self._has_line = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self, text: str) -> None:
        width = os.get_terminal_size(2).columns or 80
        self._has_line = True
        sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
        sys.stderr.flush()


def render_progress(label: str, done: int, total: int, seconds: float) -> str:
    """`label [=====>   ] 12MB/48MB 24MB/s`; without a total, no bar."""
    rate = f"{render_size(done / seconds)}/s" if seconds > 0 else ""
    if not total:
        return f"{label} {render_size(done)} {rate}".rstrip()
    cells = min(_BAR_CELLS, done * _BAR_CELLS // total)
    bar = "=" * cells + (">" if cells < _BAR_CELLS else "")
    return f"{label} [{bar:<{_BAR_CELLS}}] {render_size(done)}/{render_size(total)} {rate}".rstrip()
