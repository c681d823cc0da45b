"""What listings share: --format, --quiet, --filter, and how their answer is printed."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from orlop.cli.table import render_table
from orlop.client.errors import ClientError

Function = TypeVar("Function", bound=Callable[..., Any])

FORMAT_HELP = "table, or json: one JSON object a line, as the API gives it"


def _check_format(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value in ("table", "json"):
        return value
    raise ClientError(f"--format {value!r} is not understood: use table or json (orlop has no templates; try jq)", 125)


def format_option(function: Function) -> Function:
    return click.option("--format", "output_format", default="table", metavar="FORMAT", callback=_check_format,
                        help=f"Output format: {FORMAT_HELP}.")(function)  # fmt: skip


def filter_option(known: str) -> Callable[[Function], Function]:
    return click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
                        help=f"Only those that match; may be repeated. Keys: {known}.")  # fmt: skip


def prune_filter_option(known: str) -> Callable[[Function], Function]:
    """As above, without -f: that is --force there."""
    return click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE",
                        help=f"Only those that match; may be repeated. Keys: {known}.")  # fmt: skip


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
