"""`orlop plugin serve` against `rclone serve docker`, a plugin of others: calls of the volume plugin protocol on their
sockets, without an engine in between."""

import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.bare import END_SECONDS, tool
from bench.http import Client, connected, timed
from bench.peers import CHECKOUT
from bench.rounds import interleaved
from bench.table import Row, Table

TARGET = "≥ 1"
CALLS, VOLUMES, ROUNDS, SECONDS = 300, 20, 15, 40.0
_START_SECONDS = 20.0


def rows() -> dict[str, tuple[str, object]]:
    return {
        "plugin serve (against rclone serve docker): Get": ("VolumeDriver.Get", {"Name": "bench0"}),
        f"plugin serve (against rclone serve docker): List of {VOLUMES} volumes": ("VolumeDriver.List", {}),
    }


def measure_lending(folder: Path, table: Table, chosen: Sequence[str]) -> None:
    """`orlop` and `bare` are the table's sides: the latter is rclone here."""
    with ExitStack() as lasting:
        try:
            clients = {
                "orlop": lasting.enter_context(_served(folder, "orlop", _orlop, {})),
                "bare": lasting.enter_context(_served(folder, "rclone", _rclone, {"remote": str(folder)})),
            }
        except (OSError, RuntimeError) as error:
            for name in chosen:
                table.add(Row(name, "calls/s", TARGET, {}, [str(error)]))
            return
        for name in chosen:
            table.announce(name)
            method, wish = rows()[name]
            begin = time.monotonic()
            sides = {side: partial(_calls, client, method, wish) for side, client in clients.items()}
            values, troubles = interleaved(sides, ROUNDS, SECONDS)
            seconds = time.monotonic() - begin
            table.add(Row(name, "calls/s", TARGET, values, troubles, of_pairs=True, seconds=seconds))


def _calls(client: Client, method: str, wish: object) -> Generator[float, None, None]:
    while True:

        def ask_often() -> None:
            for _ in range(CALLS):
                client.call("POST", f"/{method}", wish)

        yield CALLS / timed(ask_often)


def _orlop(socket: Path, folder: Path) -> list[str]:
    places = ["--socket", str(socket), "--root", str(folder / "root")]
    return [str(CHECKOUT / ".venv/bin/orlop"), "plugin", "serve", "--driver", "local", *places]


def _rclone(socket: Path, folder: Path) -> list[str]:
    places = ["--base-dir", str(folder / "base"), "--cache-dir", str(folder / "cache"), "--config", "/dev/null"]
    return [tool("rclone"), "serve", "docker", "--socket-addr", str(socket), *places]


def _listens(path: Path) -> bool:
    """Its file may be there before that."""
    try:
        connected(path).close()
    except OSError:
        return False
    return True


@contextmanager
def _served(
    folder: Path, name: str, command: Callable[[Path, Path], list[str]], options: dict[str, str]
) -> Iterator[Client]:
    """One that has `VOLUMES` volumes."""
    socket, own = folder / f"{name}.sock", folder / name
    (own / "base").mkdir(parents=True)
    with (folder / f"{name}.log").open("wb") as said:
        program = subprocess.Popen(command(socket, own), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    client = Client(socket, api="")
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(socket):
            if program.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {(folder / f'{name}.log').read_text()[-500:]}")
            time.sleep(0.02)
        for number in range(VOLUMES):
            client.call("POST", "/VolumeDriver.Create", {"Name": f"bench{number}", "Opts": options})
        yield client
    finally:
        client.close()
        program.terminate()
        try:
            program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait(END_SECONDS)
