"""`orlop driver-test`: the contract suites against a driver of one's own; the one command that needs pytest."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import format_option, print_json
from orlop.cli.words import parse_pairs
from orlop.client.errors import ClientError

if TYPE_CHECKING:
    from orlop.testing.driver_run import Found, Outcome
    from orlop.testing.driver_target import Target

NOT_TRIED = 2
_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


@declare(
    examples=[
        ("orlop driver-test my_package.shelf", "the only driver in that module"),
        ("sudo orlop driver-test ./shelf.py:ShelfVolumes --option disk=/mnt/spare", "as root, where it mounts"),
        ("orlop driver-test my_package.cloudy --option bucket=try-{name} --option key=secret://k --secret k=key.txt",
         "each volume has a bucket of its own"),
        ("orlop driver-test --format json my_package.shelf | jq '.Outcomes[] | select(.Result == \"failed\")'", ""),
    ],
    statuses=[
        ("0", "the driver keeps the contract"),
        ("1", "it breaks at least one promise"),
        ("2", "nothing could be tried: no such driver, it cannot be made, or pytest is missing"),
        ("125", "an option is not understood"),
    ],
)  # fmt: skip
@option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE",
        help="An option that volumes are created with; {name} in the value is the volume's name. "
        "May be repeated.")  # fmt: skip
@option("--secret", "secrets", multiple=True, metavar="NAME=FILE",
        help="What secret://NAME stands for: the content of the file. May be repeated.")  # fmt: skip
@option("--trait", "traits", multiple=True, choices=("memory", "elsewhere", "no-undo"),
        help="What is different about its volumes: gone with their last user; they only lead to bytes that are "
        "elsewhere; a creation cannot be undone. May be repeated.")  # fmt: skip
@option(
    "--timeout",
    "seconds",
    kind=int,
    default=60,
    metavar="SECONDS",
    help="What one test may take [60]; 0: as long as it likes.",
)
@format_option
@argument("driver", metavar="MODULE[:CLASS]")
def command(
    app: App,
    /,
    driver: str,
    options: tuple[str, ...],
    secrets: tuple[str, ...],
    traits: tuple[str, ...],
    seconds: int,
    output_format: str,
) -> int:
    """Try a volume driver that you wrote: the contract suites of Orlop's own drivers, on roots in a temporary folder.

    MODULE is imported as Python does it, from the current folder too, or is a file (FILE.py). CLASS may be left out
    where one class of it is a driver; it may be any function that makes one. Which suites are played is what abilities
    the driver has. No daemon is needed; pytest is (pip install pytest).

    With --format json: one JSON document.
    """
    if seconds < 0:
        raise ClientError("--timeout is a number of seconds, 0 or more", 125)
    gc.enable()  # the command's main turned it off, for the sake of short commands
    from orlop.errors import OrlopError
    from orlop.testing.driver_run import run_suites
    from orlop.testing.driver_target import Target, find_make

    # pytest catches what goes to the usual descriptor, for the driver may print.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="backslashreplace") as out:
        printer = _Printer(out, is_table=output_format == "table")
        try:
            make, file = find_make(driver)
            target = Target(make, file, parse_pairs(options), _read_secrets(secrets), traits)
            found, outcomes = run_suites(target, seconds, printer.start, printer.tell)
        except OrlopError as error:
            raise ClientError(error.message, NOT_TRIED) from error
        printer.finish(target, found, outcomes)
    if output_format == "json":
        print_json(_document(target, found, outcomes))
    return int(any(outcome.result == "failed" for outcome in outcomes))


def _read_secrets(terms: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name, path in parse_pairs(terms).items():
        found[name] = Path(path).read_text(encoding="utf-8").removesuffix("\n")
    return found


class _Printer:
    """The table, line by line as things happen."""

    def __init__(self, out: Any, is_table: bool) -> None:
        self._out = out
        self._is_table = is_table
        self._suite = ""

    def _say(self, line: str) -> None:
        if self._is_table:
            try:
                self._out.write(f"{line}\n")
                self._out.flush()
            except BrokenPipeError:  # whoever reads has had enough: the exit status still tells
                self._is_table = False

    def start(self, found: "Found") -> None:
        self._say(f"driver {found.name}, scope {found.scope}")
        self._say(f"abilities: {', '.join(found.abilities) or 'none beyond the minimum'}")
        if without := [ability for ability in found.abilities if ability not in found.suites]:
            self._say(f"not tried, there is no suite for them alone: {', '.join(without)}")

    def tell(self, outcome: "Outcome") -> None:
        if outcome.suite != self._suite:
            self._suite = outcome.suite
            self._say(f"\n{outcome.suite}")
        self._say(f"  {_MARKS[outcome.result]}  {outcome.promise}")
        for line in outcome.reason:
            self._say(f"          {line}")

    def finish(self, target: "Target", found: "Found", outcomes: "list[Outcome]") -> None:
        counts = _counts(outcomes)
        seconds = sum(outcome.seconds for outcome in outcomes)
        told = ", ".join(f"{number} {result}" for result, number in counts.items() if number)
        self._say(f"\n{told} in {seconds:.1f} s")
        if counts["failed"]:
            self._say(f"{found.name} does not keep the contract yet ({target.file})")
        else:
            self._say(f"{found.name} keeps the contract")


def _counts(outcomes: "list[Outcome]") -> dict[str, int]:
    return {result: sum(1 for each in outcomes if each.result == result) for result in _MARKS}


def _document(target: "Target", found: "Found", outcomes: "list[Outcome]") -> dict[str, Any]:
    counts = _counts(outcomes)
    return {
        "Driver": found.name,
        "Scope": found.scope,
        "File": target.file,
        "Abilities": list(found.abilities),
        "Suites": list(found.suites),
        **{result.capitalize(): number for result, number in counts.items()},
        "Outcomes": [
            {
                "Suite": each.suite,
                "Promise": each.promise,
                "Result": each.result,
                "Reason": "\n".join(each.reason),
                "Seconds": round(each.seconds, 3),
            }
            for each in outcomes
        ],
    }
