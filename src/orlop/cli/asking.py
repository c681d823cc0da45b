"""Asking before something is lost."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from orlop.client.errors import ClientError

Function = TypeVar("Function", bound=Callable[..., Any])

_SHOWN = 20


def force_option(function: Function) -> Function:
    return click.option("-f", "--force", is_flag=True, help="Do not ask.")(function)


def confirm(what: str, items: Sequence[str], force: bool) -> None:
    """Show what will go and ask. Raises ClientError for a no, and where there is nobody to ask."""
    if force:
        return
    text = f"{what}:\n" + "".join(f"  {item}\n" for item in items[:_SHOWN]) if items else f"{what}.\n"
    if len(items) > _SHOWN:
        text += f"  ... and {len(items) - _SHOWN} more\n"
    click.echo(text, err=True, nl=False)
    if not sys.stdin.isatty():
        raise ClientError("nobody is there to be asked: use --force to go on without")
    if not click.confirm("Go on?", err=True):
        raise ClientError("nothing was done")
