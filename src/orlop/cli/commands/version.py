"""`orlop version`."""

import os
import sys
from typing import Any

from orlop import __version__
from orlop.cli.app import App
from orlop.cli.declaring import declare
from orlop.cli.output import format_option, print_json, print_lines
from orlop.client.api import NEWEST_VERSION
from orlop.client.errors import ClientError


@declare(examples=[("orlop version --format json", "one JSON document")])
@format_option
def command(app: App, output_format: str) -> None:
    """Show the versions of the command and of the daemon."""
    client = {
        "Version": __version__,
        "ApiVersion": ".".join(map(str, NEWEST_VERSION)),
        "Python": ".".join(map(str, sys.version_info[:3])),
        "Os": sys.platform,
        "Arch": os.uname().machine,
    }
    server: dict[str, Any] | None = None
    failure: ClientError | None = None
    try:
        server = app.api.get("/version")
    except ClientError as error:
        failure = error
    if output_format == "json":
        print_json({"Client": client, "Server": server})
    else:
        print_lines(["Client:", *_rows(client)])
        if server:
            print_lines(["", "Server:", *_rows({name: server.get(name) for name in _SHOWN})])
    if failure:
        raise failure


_SHOWN = ("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion")


def _rows(facts: dict[str, Any]) -> list[str]:
    return [f" {name + ':':<18}{value}" for name, value in facts.items() if value]
