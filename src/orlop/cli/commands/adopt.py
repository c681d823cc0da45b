"""`orlop adopt`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.human import render_size
from orlop.cli.output import format_option, print_line, print_lines, warn
from orlop.cli.progress import Progress
from orlop.cli.table import render_table
from orlop.client.api import json_messages
from orlop.client.errors import ClientError

ADOPT = "/orlop/v1/adopt"
_WOULD = {"move": "would be moved", "copy": "would be copied", "refuse": "stays"}
_DID = {"move": "moved", "copy": "copied", "refuse": "stays"}


def _renaming(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not (old and separator and new):
        raise ClientError(f"--as {text!r} is not understood: use OLD=NEW", 125)
    return old, new


@declare(
    examples=[
        ("orlop adopt /var/lib/docker --dry-run", "what is there, and what would become of it"),
        ("orlop adopt /var/lib/docker", "every volume that nothing there refers to, in an instant"),
        ("orlop adopt /var/lib/docker pgdata --copy", "a copy of one; Docker keeps its own"),
        ("orlop adopt /var/lib/containers/storage --as data=podman-data", "Podman's, one of them under another name"),
    ],
    statuses=[
        ("0", "every volume asked for was taken over, or would be"),
        ("1", "some stay where they are: the reasons are shown"),
        ("125", "an option is not understood"),
    ],
)
@option("--copy", is_flag=True, help="Copy the data; the other engine keeps its own. Also across file systems.")
@option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
@option("-f", "--force", is_flag=True,
              help="Also volumes that containers there refer to (they lose them); with --copy also those in use now; "
              "where the other engine's memory is damaged, what lies there by its folders.")  # fmt: skip
@option("--as", "renamings", multiple=True, metavar="OLD=NEW", help="Another name here; may be repeated.")
@format_option
@argument("root", metavar="ROOT")
@argument("names", many=True, metavar="[NAME...]")
def command(
    app: App,
    root: str,
    names: tuple[str, ...],
    copy: bool,
    dry_run: bool,
    force: bool,
    renamings: tuple[str, ...],
    output_format: str,
) -> int:
    """Take over the volumes of Docker's or Podman's data root ROOT: all, or those named.

    Names, labels, options, owners and ages come along. A volume is moved, which takes an instant and no space, or
    copied with --copy. The other engine may not run on ROOT meanwhile. What containers there refer to is only copied,
    unless --force.
    """
    body = {
        "Root": str(Path(root).absolute()),
        "Names": names,
        "Copy": copy,
        "DryRun": True,
        "Force": force,
        "As": dict(map(_renaming, renamings)),
    }
    planned = _ask(app, body, None)
    if dry_run:
        return _show(planned, output_format, dry_run)
    if output_format == "table" and planned:
        sys.stdout.write(_table(planned, _WOULD))
        print_line("")
    with Progress("copying") as progress:
        done = _ask(app, {**body, "DryRun": False}, progress)
    return _show(done, output_format, dry_run)


def _ask(app: App, body: Mapping[str, Any], progress: Progress | None) -> list[dict[str, Any]]:
    found = []
    for message in json_messages(app.api.stream("POST", ADOPT, body=body)):
        if "Volume" in message:
            found.append(message["Volume"])
        elif "Progress" in message and progress is not None:
            now = message["Progress"]
            progress.show(f"{now['Name']}: {now['Entries']} entries, {render_size(now['SizeBytes'])}")
    return found


def _show(volumes: Sequence[dict[str, Any]], output_format: str, dry_run: bool) -> int:
    if output_format == "json":
        print_lines(json.dumps(it, ensure_ascii=False) for it in volumes)
    elif not volumes:
        print_line("There is no volume to take over.")
    else:
        sys.stdout.write(_table(volumes, _WOULD if dry_run else _DID))
        for it in volumes:
            for text in it["Notes"]:
                warn(f"volume {it['Name']}: {text}")
            if it["Reason"] and it["Hint"]:
                warn(f"volume {it['Name']} stays: {it['Reason']}. {it['Hint']}")
    return int(any(it["Reason"] for it in volumes))


def _table(volumes: Sequence[dict[str, Any]], words: Mapping[str, str]) -> str:
    rows = [(it["Name"], _result(it, words), ", ".join(it["Containers"]) or "-", _remark(it)) for it in volumes]
    return render_table(("VOLUME NAME", "RESULT", "CONTAINERS THERE", "WHY"), rows)


def _result(it: dict[str, Any], words: Mapping[str, str]) -> str:
    text = "stays" if it["Reason"] else words[it["Action"]]
    if it["SizeBytes"] >= 0 and not it["Reason"]:
        text += f" ({render_size(it['SizeBytes'])})"
    return text


def _remark(it: dict[str, Any]) -> str:
    if it["Reason"]:
        return str(it["Reason"])
    return f"as {it['NewName']}" if it["NewName"] != it["Name"] else ""
