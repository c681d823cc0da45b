"""What became of long work on a volume: its progress, the answer, and of a copy the notes that people should read."""

from collections.abc import Callable, Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.human import render_size
from orlop.cli.output import print_json, print_line, warn
from orlop.cli.progress import Progress
from orlop.client.api import json_messages, quote
from orlop.client.errors import ApiError, Unreachable

_MOST_TOLD = 10


def read_copy(app: App, source: str, body: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    """Copy a volume, showing how far it is; the daemon's result."""

    def shown(message: Mapping[str, Any]) -> str:
        return f"copying {source}: {message['Entries']} entries, {render_size(message['Bytes'])}"

    lost = "whether the copy was made, `orlop volume ls` says"
    return read_result(app, f"/orlop/v1/volumes/{quote(source)}/copy", body, quiet, shown, lost)


def read_result(
    app: App,
    path: str,
    body: Mapping[str, Any],
    quiet: bool,
    shown: Callable[[Mapping[str, Any]], str],
    lost: str,
) -> dict[str, Any]:
    """Have long work done, showing how far it is; the daemon's result. `lost` says where to look for what became of it
    when the connection breaks off. Raises ApiError, Unreachable."""
    response = app.api.stream("POST", path, {"progress": True}, dict(body))
    with Progress("", quiet=quiet) as progress:
        for message in json_messages(response):
            if "error" in message:
                raise ApiError(500, str(message["error"]))
            if "Result" in message:
                return dict(message["Result"])
            progress.show(shown(message))
    raise Unreachable(f"the daemon broke the connection off: {lost}")


def tell_result(result: Mapping[str, Any], output_format: str, quiet: bool) -> None:
    """The new volume's name, or all of it as JSON; on stderr, what is otherwise than one might think."""
    if output_format == "json":
        print_json(result)
        return
    print_line(result["Volume"]["Name"])
    if quiet:
        return
    if users := result.get("Users"):
        warn(f"note: {', '.join(users)} may have written to it meanwhile: each file is as it was found at its moment")
    if names := result.get("LeftOutOptions"):
        warn(f"note: options that say where the data was are left out: {', '.join(names)}")
    if names := result.get("OmittedOptions"):
        warn(f"note: options with secrets were not in the archive: {', '.join(names)}. Give them with --opt")
    if names := result.get("LostAttributes"):
        warn(f"note: this file system cannot keep the attributes {', '.join(names)}")
    if count := result.get("MissedCount"):
        warn(f"{count} entries are missing, or not as they were:")
        for missed in result["Missed"][:_MOST_TOLD]:
            warn(f"  {missed['Path']}: {missed['Why']}")
        if count > _MOST_TOLD:
            warn(f"  and {count - _MOST_TOLD} more; --format json has them")
