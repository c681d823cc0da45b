"""Orlop and its peers side by side: the same calls, interleaved round by round in one run, medians and ratios.

Examples:
  script/bench --set-up-dockerd                       every case against Debian's dockerd
  script/bench --set-up-dockerd --case "docker run"   cases whose name contains that
  script/bench --peer podman=unix:///run/podman.sock  against a daemon that runs already
"""

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# The cases enter the list by being imported, in the order of the printed table.
from bench import containers, daemon, images, peers, plugins, volumes  # noqa: F401
from bench.cases import CASES, Case
from bench.material import Material
from bench.peers import IMAGE, Managed, Peer


def main() -> int:
    options = parse_arguments()
    # Told to stop, it still takes its daemons and disks down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [one for one in CASES if not options.case or any(part in one.name for part in options.case)]
    if options.list:
        print("\n".join(one.name for one in CASES))
        return 0
    compared: list[Peer] = []
    folder = Path(tempfile.mkdtemp(prefix="bench-material-", dir="/var/tmp"))
    try:
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
        return measure_all(compared, chosen, Material(folder, options.scale), options)
    finally:
        for peer in compared:
            peer.close()
        shutil.rmtree(folder, ignore_errors=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("script/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], metavar="[NAME=]unix://PATH", help="a daemon that runs")
    parser.add_argument("--set-up-dockerd", action="store_true", help="install Debian's docker.io and start it beside")
    parser.add_argument("--without-orlop", action="store_true", help="measure the peers alone")
    parser.add_argument("--daemon-option", action="append", default=[], help="an option more for orlop daemon")
    parser.add_argument("--case", action="append", default=[], metavar="TEXT", help="only cases whose name contains it")
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink archives and counts, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value there")
    parser.add_argument("--list", action="store_true", help="name the cases")
    return parser.parse_args()


def measure_all(
    compared: Sequence[Peer], chosen: Sequence[Case], material: Material, options: argparse.Namespace
) -> int:
    for peer in compared:
        if isinstance(peer, Managed):
            peer.start()
        peer.client.upload("POST", "/images/create?fromSrc=-&repo=bench/busybox&tag=latest", material.busybox)
        peer.client.call("GET", f"/images/{IMAGE}/json")
    names = [peer.name for peer in compared]
    print(f"{'case':<56}" + "".join(f"{name:>14}" for name in names) + "".join(f"{'÷ ' + n:>12}" for n in names[1:]))
    results = {}
    failed = False
    for one in chosen:
        values, troubles = measure(one, compared, material, options.rounds or one.rounds)
        results[one.name] = {"unit": one.unit, "target": one.target, "values": values}
        print(row(one, names, values), flush=True)
        for trouble in troubles:
            failed = True
            print(f"    {trouble}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 1 if failed else 0


def measure(
    one: Case, compared: Sequence[Peer], material: Material, rounds: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Round by round, and who begins changes with each."""
    able = [peer for peer in compared if peer.manages or not one.needs_managed]
    running = {peer.name: one.measure(peer, material) for peer in able}
    values: dict[str, list[float]] = {peer.name: [] for peer in able}
    troubles = []
    for number in range(rounds):
        for peer in able if number % 2 == 0 else able[::-1]:
            if peer.name not in running:
                continue
            try:
                values[peer.name].append(next(running[peer.name]))
            except Exception as error:  # noqa: BLE001 - one peer's trouble is a row of the table, not the end of it
                troubles.append(f"{peer.name}: {error}")
                del running[peer.name]
    for name, generator in running.items():
        try:
            generator.close()
        except Exception as error:  # noqa: BLE001
            troubles.append(f"{name}, cleaning up: {error}")
    return values, troubles


def row(one: Case, names: Sequence[str], values: dict[str, list[float]]) -> str:
    medians = {name: statistics.median(numbers) for name, numbers in values.items() if numbers}
    label = f"{one.name}, {one.unit}" if one.unit else one.name
    line = f"{label:<56}" + "".join(f"{medians[name]:>14.4g}" if name in medians else f"{'-':>14}" for name in names)
    for name in names[1:]:
        known = names[0] in medians and name in medians and medians[name]
        line += f"{medians[names[0]] / medians[name]:>12.3f}" if known else f"{'-':>12}"
    return f"{line}   {one.target}"


if __name__ == "__main__":
    sys.exit(main())
