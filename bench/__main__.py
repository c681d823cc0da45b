"""Orlop and its peers side by side: the same calls, interleaved round by round in one run, medians and ratios.

Examples:
  script/bench --set-up-dockerd                       every case against Debian's dockerd
  script/bench drivers                                volumes of each driver against the same tool used bare
  script/bench cluster                                volumes of several hosts against local ones, failover, etcd
  script/bench --set-up-dockerd --case "docker run"   cases whose name contains that
  script/bench --peer podman=unix:///run/podman.sock  against a daemon that runs already
"""

import argparse
import importlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# The cases enter the list by being imported, in the order of the printed table.
from bench import containers, daemon, drivers, images, peers, plugins, volumes  # noqa: F401
from bench.cases import CASES, Case
from bench.material import Material
from bench.peers import IMAGE, Managed, Peer
from bench.private import enter_private
from bench.rounds import CLEAN_UP_SECONDS, TooLong, interleaved, within
from bench.table import Row, Table


def main() -> int:
    options = parse_arguments()
    chosen = [one for one in CASES if is_chosen(one.name, options)]
    if options.list:
        print("\n".join(names(chosen, options)))
        return 0
    if not options.peer:
        enter_private(sys.argv[1:])
    # Told to stop, it still takes its daemons and disks down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="bench-material-", dir="/var/tmp"))
    material = Material(folder, options.scale)
    begin = time.monotonic()
    compared: list[Peer] = []
    try:
        if options.what == "drivers":
            return finished(measure_drivers(compared, material, options), options, begin)
        if options.what == "cluster":
            return finished(cluster().measure_all(material, options), options, begin)
        if not options.without_orlop:
            compared.append(peers.orlop(options.daemon_option))
        if options.set_up_dockerd:
            compared.append(peers.dockerd())
        for wish in options.peer:
            name, _, host = wish.rpartition("=")
            compared.append(Peer(name or "peer", Path(host.removeprefix("unix://"))))
        if not compared:
            print("nobody to measure: --peer or --set-up-dockerd", file=sys.stderr)
            return 2
        return finished(measure_all(compared, chosen, material, options), options, begin)
    finally:
        for peer in compared:
            try:
                with within(2 * CLEAN_UP_SECONDS, f"taking {peer.name} down"):
                    peer.close()
            except (TooLong, OSError) as error:
                print(error, file=sys.stderr)
        material.close()
        subprocess.run(["umount", "-l", folder / "storage"], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def names(chosen: Sequence[Case], options: argparse.Namespace) -> list[str]:
    if options.what == "cluster":
        return [*cluster().names(options)]
    return drivers.names(options) if options.what == "drivers" else [one.name for one in chosen]


def cluster() -> Any:
    """It needs what tests need: nothing for who measures the engine alone."""
    return importlib.import_module("bench.cluster")


def is_chosen(name: str, options: argparse.Namespace) -> bool:
    return not options.case or any(part in name for part in options.case)


def finished(table: Table, options: argparse.Namespace, begin: float) -> int:
    took = time.monotonic() - begin
    print(f"{len(table.rows)} rows in {took / 60:.1f} minutes")
    if options.markdown:
        table.print_markdown()
    if options.json:
        results = {row.case: {"unit": row.unit, "target": row.target, "values": row.values} for row in table.rows}
        options.json.write_text(json.dumps(results, indent=1))
    return 1 if table.failed() else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("script/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("engine", "drivers", "cluster"), default="engine", help="[engine]")
    parser.add_argument("--peer", action="append", default=[], metavar="[NAME=]unix://PATH", help="a daemon that runs")
    parser.add_argument("--set-up-dockerd", action="store_true", help="install Debian's docker.io and start it beside")
    parser.add_argument("--without-orlop", action="store_true", help="measure the peers alone")
    parser.add_argument("--daemon-option", action="append", default=[], help="an option more for orlop daemon")
    parser.add_argument("--case", action="append", default=[], metavar="TEXT", help="only cases whose name contains it")
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--against-itself", action="store_true", help="drivers: the bare tool on both sides")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink archives and counts, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value there")
    parser.add_argument("--markdown", action="store_true", help="print the table once more as Markdown")
    parser.add_argument("--list", action="store_true", help="name the cases")
    options = parser.parse_args()
    if options.what != "engine" and (options.peer or options.set_up_dockerd or options.without_orlop):
        parser.error(f"{options.what}: not measured against another daemon")
    return options


def measure_all(
    compared: Sequence[Peer], chosen: Sequence[Case], material: Material, options: argparse.Namespace
) -> Table:
    for peer in compared:
        prepare(peer, material)
    table = Table([peer.name for peer in compared])
    table.begin()
    for one in chosen:
        table.announce(one.name)
        begin = time.monotonic()
        able = [peer for peer in compared if peer.manages or not one.needs_managed]
        sides = {peer.name: partial(one.measure, peer, material) for peer in able}
        values, troubles = interleaved(sides, options.rounds or one.rounds, one.seconds)
        table.add(Row(one.name, one.unit, one.target, values, troubles, seconds=time.monotonic() - begin))
    return table


def measure_drivers(compared: list[Peer], material: Material, options: argparse.Namespace) -> Table:
    """All disks lie in memory: it is the way there that is compared, and not the moods of a disk."""
    storage = material.folder / "storage"
    storage.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16g", "bench", storage], check=True)
    orlop = peers.orlop(options.daemon_option, disk_bytes=8 << 30, place=storage)
    compared.append(orlop)
    prepare(orlop, material)
    return drivers.measure_all(orlop, material, options)


def prepare(peer: Peer, material: Material) -> None:
    if isinstance(peer, Managed):
        peer.start()
    peer.client.upload("POST", "/images/create?fromSrc=-&repo=bench/busybox&tag=latest", material.busybox)
    peer.client.call("GET", f"/images/{IMAGE}/json")


if __name__ == "__main__":
    sys.exit(main())
