"""What listings share: --format, --quiet, --filter, and how their answer is printed."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orlop.cli.declaring import Function, option
from orlop.cli.table import render_table
from orlop.client.errors import ClientError

FORMAT_HELP = "table, or json: one JSON object a line, as the API gives it"


def _check_format(value: str) -> str:
    if value in ("table", "json"):
        return value
    raise ClientError(f"--format {value!r} is not understood: use table or json (orlop has no templates; try jq)", 125)


format_option = option(
    "--format", "output_format", default="table", metavar="FORMAT", check=_check_format,
    help=f"Output format: {FORMAT_HELP}.",
)  # fmt: skip


def filter_option(known: str, *, short: bool = True) -> Callable[[Function], Function]:
    """--filter; `short` is off where -f is --force."""
    names = ("-f", "--filter") if short else ("--filter",)
    text = f"Only those that match; may be repeated. Keys: {known}."
    return option(*names, "filters", multiple=True, metavar="KEY=VALUE", help=text)


def parse_filters(terms: Iterable[str]) -> dict[str, list[str]]:
    """Raises ClientError for a term without an equals sign."""
    filters: dict[str, list[str]] = {}
    for term in terms:
        key, separator, value = term.partition("=")
        if not separator:
            raise ClientError(f"invalid filter {term!r}: use KEY=VALUE", 125)
        filters.setdefault(key.strip().lower(), []).append(value.strip())
    return filters


def print_listing(
    output_format: str,
    objects: Iterable[Mapping[str, Any]],
    headings: Sequence[str],
    row: Callable[[Any], Sequence[str]],
) -> None:
    if output_format == "json":
        print_lines(json.dumps(item, ensure_ascii=False) for item in objects)
    else:
        sys.stdout.write(render_table(headings, [row(item) for item in objects]))


def print_lines(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=4, ensure_ascii=False) + "\n")


def warn(message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"orlop: {message}\n")


def each(names: Iterable[str], act: Callable[[str], str | None]) -> int:
    """Do it for each name, print what each gives (the name itself for None, nothing for ""), report each failure, go
    on. 1 when any failed."""
    status = 0
    for name in names:
        try:
            text = act(name)
        except ClientError as error:
            warn(error.message)
            status = max(status, error.exit_code)
            if type(error).__name__ == "Unreachable":
                return status
            continue
        if text != "":
            sys.stdout.write(f"{name if text is None else text}\n")
    return status
