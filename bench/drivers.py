"""Volumes of each driver, where a container has them, against the same tool used bare with the same settings.

For each driver both are set up side by side once; then a pair of measurements after the other, first one side, then the
other, who begins changing with each pair. The ratio is the median of the pairs' ratios of speed; beside it stands
between which two the true one lies, nineteen times of twenty, and the same of what is done in a second of the
processor by whoever reads and writes and by the program that mounts: that tells more where the machine is busy.

With --against-itself both sides are the bare tool. What is not 1 then is what the machine makes of nothing.
"""

import argparse
import base64
import importlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import lending
from bench.containers import Container, bare_container
from bench.http import Client, Refused
from bench.material import MEGABYTE, Material
from bench.peers import Managed, Peer, command_lines
from bench.processor import processor_seconds
from bench.rounds import CLEAN_UP_SECONDS, TooLong, within
from bench.storage_work import Worker, worker
from bench.table import Row, Table

if TYPE_CHECKING:
    from bench.backends import Pair, Prepare, Prepared

TARGET = "≥ 0.95"
SIDES = ("orlop", "bare")
PAIRS_OF_A_ROW, MOST_PAIRS = 20, 150
ROW_SECONDS, SET_UP_SECONDS, WORK_SECONDS = 60.0, 60.0, 15.0
MEGABYTES = 64
_MOMENT_SECONDS = 0.05  # rather many short ones than a few: the median knows which were disturbed
_NOTHING_SECONDS = 1e-6
_ENOUGH_SECONDS = 12.0  # where pairs are quick, more of them are measured
_READ_FILE = "read.bin"


@dataclass(frozen=True)
class Side:
    place: Path
    forget: Callable[[], list[Path]]  # what is below it on this host, before each read
    clear: Callable[[], None]
    pids: Callable[[], set[int]]  # of the program that mounts


Measure = Callable[[Worker, Side, int], float]


def measure_write(work: Worker, side: Side, megabytes: int) -> float:
    path = _fresh("written")
    took = work.ask("write", side.place, WORK_SECONDS, path=path, megabytes=megabytes)
    work.ask("unlink", side.place, WORK_SECONDS, path=path)
    return took


def measure_read(work: Worker, side: Side, megabytes: int) -> float:
    side.clear()
    forget = [str(path) for path in side.forget()]
    return work.ask("read", side.place, WORK_SECONDS, path=_READ_FILE, megabytes=megabytes, forget=forget)


def measure_small(work: Worker, side: Side, count: int) -> float:
    return work.ask("small", side.place, WORK_SECONDS, count=count)


def measure_synced(work: Worker, side: Side, count: int) -> float:
    return work.ask("synced", side.place, WORK_SECONDS, path=_fresh("synced"), count=count)


def _fresh(name: str) -> str:
    """rclone may show a file again that was deleted while it was being uploaded."""
    return f"{name}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Kind:
    """`least` and `most` of them are done in one measurement: as many as take a moment worth measuring."""

    name: str
    unit: str
    measure: Measure
    least: int
    most: int


KINDS = (
    Kind("write + fsync", "MB/s", measure_write, 16, MEGABYTES),
    Kind("read, nothing cached", "MB/s", measure_read, 16, MEGABYTES),
    Kind("small files made, looked at, read", "files/s", measure_small, 20, 400),
    Kind("4 KiB writes, each with fsync", "writes/s", measure_synced, 50, 4000),
)


def names(options: argparse.Namespace) -> list[str]:
    return [*_pair_names(options), *(name for name in lending.rows() if _is_chosen(name, options))]


def _pair_names(options: argparse.Namespace) -> list[str]:
    return [
        f"{pair}: {kind.name}" for pair in _pairs() for kind in KINDS if _is_chosen(f"{pair}: {kind.name}", options)
    ]


def _pairs() -> "Mapping[str, Prepare]":
    """The servers come from the tests, and need what tests need: nothing for who measures the engine alone."""
    return importlib.import_module("bench.backends").PAIRS  # type: ignore[no-any-return]


def _is_chosen(name: str, options: argparse.Namespace) -> bool:
    return not options.case or any(part in name for part in options.case)


def measure_all(orlop: Managed, material: Material, options: argparse.Namespace) -> Table:
    table = Table(SIDES)
    table.begin()
    content = material.folder / _READ_FILE
    content.write_bytes(os.urandom(MEGABYTES * MEGABYTE))
    for number, (driver, prepare) in enumerate(_pairs().items()):
        kinds = [kind for kind in KINDS if _is_chosen(f"{driver}: {kind.name}", options)]
        if kinds:
            table.announce(f"{driver}: being set up")
            folder = orlop.disk / f"pair{number}"
            folder.mkdir()
            it = _Driver(orlop, driver, options, table)
            it.measure(kinds, partial(prepare, folder, content), content)
            shutil.rmtree(folder, ignore_errors=True)
    if served := [name for name in lending.rows() if _is_chosen(name, options)]:
        folder = orlop.disk / "lending"
        folder.mkdir()
        lending.measure_lending(folder, table, served)
    return table


class _Driver:
    """Both sides of one driver, and its rows."""

    def __init__(self, orlop: Managed, driver: str, options: argparse.Namespace, table: Table) -> None:
        self._orlop, self._driver, self._table = orlop, driver, table
        self._rounds: int = options.rounds or PAIRS_OF_A_ROW
        self._against_itself: bool = options.against_itself

    def measure(self, kinds: Sequence[Kind], prepare: "Callable[[], Prepared]", content: Path) -> None:
        """A driver that cannot be set up is rows of the table, not its end."""
        lasting = ExitStack()
        left = list(kinds)
        try:
            with within(SET_UP_SECONDS, "setting it up"):
                pair = lasting.enter_context(prepare())
                sides = self._sides(lasting, pair, content)
            work = lasting.enter_context(worker())
            for kind in kinds:
                self._table.announce(f"{self._driver}: {kind.name}")
                self._row(kind, sides, work)
                left.remove(kind)
        except Exception as error:  # noqa: BLE001
            for kind in left:
                why = f"{type(error).__name__}: {str(error).strip()}"
                self._table.add(Row(f"{self._driver}: {kind.name}", kind.unit, TARGET, {}, [why]))
        finally:
            self._close(lasting)

    def _close(self, lasting: ExitStack) -> None:
        try:
            with within(2 * CLEAN_UP_SECONDS, "taking it down"):
                lasting.close()
        except Exception as error:  # noqa: BLE001 - told, and the next driver has its turn
            print(f"    {self._driver}: taking it down: {type(error).__name__}: {error}", flush=True)

    def _sides(self, lasting: ExitStack, pair: "Pair", content: Path) -> dict[str, Side]:
        if self._against_itself:
            ours = self._bare(lasting, pair, "orlop")
        else:
            place = lasting.enter_context(_container(self._orlop, pair))
            below = self._below(pair.driver)
            programs = self._orlop.exec_root / "x/programs"
            ours = Side(
                place, lambda: pair.caches(below()), lambda: _clear(below(), pair.clears), lambda: _recorded(programs)
            )
        sides = {"orlop": ours, "bare": self._bare(lasting, pair, "bare")}
        for side in sides.values():
            if not (side.place / _READ_FILE).exists():
                shutil.copyfile(content, side.place / _READ_FILE)
        os.sync()
        return sides

    def _bare(self, lasting: ExitStack, pair: "Pair", side: str) -> Side:
        tool = lasting.enter_context(pair.bare(side))
        pids = {pid for pid, command in command_lines().items() if str(tool.mount.parent) in command}
        return Side(tool.mount, lambda: pair.caches(tool.below), lambda: _clear(tool.below, pair.clears), lambda: pids)

    def _below(self, driver: str) -> Callable[[], Path]:
        """Where Orlop keeps on this host what the volume shows."""
        if driver == "san":
            return lambda: _file_below(self._orlop.data_root / "drivers/san" / f"bench-{driver}" / "_data")
        return lambda: self._orlop.data_root / "drivers" / driver

    def _row(self, kind: Kind, sides: Mapping[str, Side], work: Worker) -> None:
        begin = time.monotonic()
        values: dict[str, list[float]] = {side: [] for side in SIDES}
        spent: dict[str, list[float]] = {side: [] for side in SIDES}
        troubles = []
        try:
            with within(ROW_SECONDS, "it"):
                count = _how_many(kind, sides, work)
                for number in range(MOST_PAIRS):
                    if number >= self._rounds and time.monotonic() - begin > _ENOUGH_SECONDS:
                        break
                    for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                        pids = {*sides[side].pids(), *work.pids}
                        before = processor_seconds(pids)
                        values[side].append(count / kind.measure(work, sides[side], count))
                        spent[side].append(count / max(processor_seconds(pids) - before, _NOTHING_SECONDS))
        except (TooLong, OSError, RuntimeError) as error:
            troubles.append(f"{type(error).__name__}: {error}")
            work.close()
        row = f"{self._driver}: {kind.name}"
        seconds = time.monotonic() - begin
        self._table.add(Row(row, kind.unit, TARGET, values, troubles, True, seconds, spent))


def _how_many(kind: Kind, sides: Mapping[str, Side], work: Worker) -> int:
    """As many as take a moment. Each side has been used once then: the first time is about memory that nobody has
    touched yet."""
    took = min(kind.measure(work, side, kind.least) for side in sides.values())
    return max(kind.least, min(kind.most, int(kind.least * _MOMENT_SECONDS / took)))


@contextmanager
def _container(orlop: Peer, pair: "Pair") -> Iterator[Path]:
    """A volume in a running container: its place there, through the container's own mounts."""
    volume = f"bench-{pair.driver}"
    wish = {"Name": volume, "Driver": pair.driver, "DriverOpts": dict(pair.options)}
    for name, word in pair.secrets.items():
        secret = {"Name": name, "Data": base64.b64encode(word.encode()).decode(), "Replace": True}
        Client(orlop.socket_path, api="").call("POST", "/orlop/v1/secrets/create", secret)
    orlop.client.call("POST", "/volumes/create", wish)
    try:
        body = bare_container(["sleep", "100000"])
        body["HostConfig"]["Binds"] = [f"{volume}:/data"]
        with Container(orlop, body) as container:
            pid = orlop.client.call("GET", f"/containers/{container}/json")["State"]["Pid"]
            yield Path(f"/proc/{pid}/root/data")
    except BaseException:
        with suppress(Refused, OSError):  # the first trouble is the one to be told
            orlop.client.call("DELETE", f"/volumes/{volume}?force=1")
        raise
    orlop.client.call("DELETE", f"/volumes/{volume}?force=1")


def _file_below(place: Path) -> Path:
    """What the loop device is made of that is mounted there."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    device = next(words[words.index("-") + 2] for words in lines if words[4] == str(place))
    return Path(Path("/sys/block", Path(device).name, "loop/backing_file").read_text().rstrip("\n"))


def _recorded(programs: Path) -> set[int]:
    """As Orlop wrote down which of its programs run."""
    records = [*programs.glob("*/*/program.json"), *programs.glob("san/programs/*/program.json")]
    return {json.loads(record.read_text())["pid"] for record in records}


def _clear(below: Path, pattern: str) -> None:
    for path in below.glob(pattern) if pattern else ():
        path.unlink(missing_ok=True)
