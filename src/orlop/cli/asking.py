"""Asking before something is lost."""

import sys
from collections.abc import Sequence

from orlop.cli.declaring import option
from orlop.client.errors import ClientError

_SHOWN = 20


force_option = option("-f", "--force", is_flag=True, help="Do not ask.")


def confirm(what: str, items: Sequence[str], force: bool) -> None:
    """Show what will go and ask. Raises ClientError for a no, and where there is nobody to ask."""
    if force:
        return
    text = f"{what}:\n" + "".join(f"  {item}\n" for item in items[:_SHOWN]) if items else f"{what}.\n"
    if len(items) > _SHOWN:
        text += f"  ... and {len(items) - _SHOWN} more\n"
    sys.stderr.write(text)
    if not sys.stdin.isatty():
        raise ClientError("nobody is there to be asked: use --force to go on without")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        raise ClientError("nothing was done")
