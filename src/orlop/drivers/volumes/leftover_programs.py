"""Programs that a crash left: nobody uses the volume that they mounted any more, or their mount is gone."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from orlop.drivers.volumes.mount_program import MountProgram
from orlop.errors import NotFound, OrlopError
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Leftover:
    program: MountProgram
    pid: int
    volume: str = ""  # whose place it is in; "" where there is none any more


def find_leftovers(
    run: Path, running: Collection[Path], volumes: Mapping[Path, str], is_clear: bool = True
) -> list[Leftover]:
    """Those that run, to be ended. What is left of others goes now, before somebody starts another one in its place.
    Unless it `is_clear` whose place is whose, one that is of no volume we know may be of one that we cannot read."""
    places = [place for place in run.iterdir() if place not in running] if run.exists() else []
    programs = [MountProgram(place) for place in places]
    found = [Leftover(program, program.pid, volumes.get(program.place, "")) for program in programs]
    for leftover in found:
        if not leftover.pid:
            end_leftover(leftover)
    return [leftover for leftover in found if leftover.pid and (is_clear or leftover.volume)]


def end_leftover(leftover: Leftover, hold: Callable[[str], AbstractContextManager[object]] | None = None) -> None:
    """Who attaches its volume meanwhile waits, and does not start another one in the place that goes with it: `hold`
    keeps the volume for us."""
    try:
        with ExitStack() as held:
            if hold is not None and leftover.volume:
                with suppress(NotFound):
                    held.enter_context(hold(leftover.volume))
            if leftover.program.pid in (
                leftover.pid,
                0,
            ):  # else it was started anew, for somebody who uses it
                leftover.program.end(_END_SECONDS)
    except (OrlopError, OSError) as error:
        log.warning("what is left of a program that mounted a volume stays: %s", error)
