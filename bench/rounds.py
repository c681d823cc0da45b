"""Rounds: one value from each side in turn, who begins changing with each, and nothing that can hang for ever."""

import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

CLEAN_UP_SECONDS = 30.0
_AGAIN_SECONDS = 10.0


class TooLong(Exception):
    """A deadline of the bench passed."""


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raises TooLong in the middle of whatever the main thread does then; and again a while later, if that has to clean
    up and hangs at it, too. Waits in the kernel that no signal ends are for programs that can be killed
    (bench.storage_work)."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"{what} took longer than {seconds:g} s, and was given up")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interleaved(
    sides: Mapping[str, Callable[[], Generator[float, None, None]]], rounds: int, seconds: float
) -> tuple[dict[str, list[float]], list[str]]:
    """Each side's values, and what went wrong: that ends the side it went wrong with, not the others."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    troubles: list[str] = []
    running = {name: begin() for name, begin in sides.items()}
    try:
        with within(seconds, "it"):
            for number in range(rounds):
                for name in [*sides] if number % 2 == 0 else [*sides][::-1]:
                    if name in running:
                        _one_round(name, running, values, troubles)
    except TooLong as error:
        troubles.append(str(error))
    for name, generator in running.items():
        try:
            with within(CLEAN_UP_SECONDS, "cleaning up"):
                generator.close()
        except Exception as error:  # noqa: BLE001 - told, and the next case has its turn
            troubles.append(f"{name}, cleaning up: {error}")
    return values, troubles


def _one_round(
    name: str,
    running: dict[str, Generator[float, None, None]],
    values: dict[str, list[float]],
    troubles: list[str],
) -> None:
    try:
        values[name].append(next(running[name]))
    except Exception as error:  # one side's trouble is a row of the table, not the end of it
        del running[name]
        if isinstance(error, TooLong):
            raise TooLong(f"{name}: {error}") from error
        troubles.append(f"{name}: {type(error).__name__}: {error}")
