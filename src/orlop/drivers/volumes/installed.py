"""Volume drivers that are installed as Python packages of their own, by the entry point group `orlop.volume_drivers`.

    [project.entry-points."orlop.volume_drivers"]        in the package's pyproject.toml
    shelf = "my_package.shelf:ShelfVolumes"              called with a DriverContext

One that is broken harms nobody: it is told of by its name, its volumes keep their records, and everything else works.
Where none is installed, a look at the file names beside the installed packages is all that this costs: importing what
reads them properly takes longer than the rest of the start.
"""

import logging
import os
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.drivers.volumes.driver import DriverContext, VolumeDriver, why_no_driver
from orlop.drivers.volumes.guarded import describe_defect, guarded
from orlop.drivers.volumes.unloaded import UnloadedVolumes
from orlop.errors import OrlopError
from orlop.model.value import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

log = logging.getLogger(__name__)

GROUP = "orlop.volume_drivers"
LOAD_SECONDS = 15.0  # for all of them together: importing and making one asks no storage

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Installed:
    drivers: dict[str, VolumeDriver]
    warnings: tuple[str, ...] = ()  # for people: what was not loaded, and why


def load_installed(taken: Collection[str], make_context: Callable[[str], DriverContext]) -> Installed:
    """`taken` are names that are built in."""
    if not _is_any_installed(sys.path):
        return Installed({})
    from importlib.metadata import entry_points

    points: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=GROUP):
        points[point.name].append(point)
    loading = []
    warnings = []
    drivers: dict[str, VolumeDriver] = {}
    for name, offered in sorted(points.items()):
        why = _why_refused(name, offered, taken)
        if not why:
            loading.append(_Loading(offered[0], make_context))
            continue
        warnings.append(f"volume driver {name} of {_packages(offered)} is refused: {why}")
        if name not in taken:
            drivers[name] = UnloadedVolumes(name, why)
    deadline = time.monotonic() + LOAD_SECONDS
    for each in loading:
        each.thread.join(max(0.0, deadline - time.monotonic()))
        name, found = each.point.name, each.found
        if found is None:
            why = each.why or f"it did not come to an end in {LOAD_SECONDS:.0f} seconds"
            warnings.append(f"volume driver {name} of {_packages([each.point])} is not loaded: {why}")
            found = UnloadedVolumes(name, why)
        drivers[name] = found
    for warning in warnings:
        log.error("%s", warning)
    return Installed(drivers, tuple(warnings))


class _Loading:
    """One driver, in a thread of its own: what it does when it is imported is not ours to trust."""

    def __init__(self, point: "EntryPoint", make_context: Callable[[str], DriverContext]) -> None:
        self.point = point
        self.found: VolumeDriver | None = None
        self.why = ""
        self._make_context = make_context
        self.thread = threading.Thread(target=self._load, name=f"load driver {point.name}", daemon=True)
        self.thread.start()

    def _load(self) -> None:
        try:
            context = self._make_context(self.point.name)
            made = self.point.load()(context)
            self.why = why_no_driver(made, self.point.name)
            self.found = None if self.why else guarded(made)
        except OrlopError as error:
            self.why = error.message
        except (Exception, SystemExit) as error:
            log.debug("loading volume driver %s", self.point.name, exc_info=True)
            self.why = describe_defect(error)


def _why_refused(name: str, offered: "Sequence[EntryPoint]", taken: Collection[str]) -> str:
    if name in taken:
        return "a driver of that name is built in"
    if len(offered) > 1:
        return "several packages have a driver of that name: uninstall all but one"
    if not _NAME.fullmatch(name):
        return "a driver's name is made of letters, digits, '_', '.' and '-', at most 64"
    return ""


def _packages(points: "Sequence[EntryPoint]") -> str:
    return ", ".join(f"{point.dist.name} {point.dist.version}" if point.dist else point.value for point in points)


def _is_any_installed(folders: Sequence[str]) -> bool:
    return any(GROUP.encode() in text for folder in dict.fromkeys(folders) for text in _read_entry_points(folder))


def _read_entry_points(folder: str) -> Iterator[bytes]:
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return  # an archive, or not there
    for name in names:
        try:
            yield (Path(folder or ".") / name / "entry_points.txt").read_bytes()
        except OSError:
            continue  # most packages have none
