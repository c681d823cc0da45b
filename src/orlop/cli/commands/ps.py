"""`orlop ps`."""

from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.human import from_seconds, now, render_ago, render_size, short_id
from orlop.cli.output import filter_option, format_option, parse_filters, print_lines, print_listing
from orlop.client.api import render_filters


@declare(
    examples=[
        ("orlop ps", "those that run"),
        ("orlop ps -a --filter volume=data", "all that use the volume"),
        ("orlop ps -q --filter status=exited", "ids, for other commands"),
    ],
)
@option("-a", "--all", "all_containers", is_flag=True, help="Stopped ones too.")
@option("-n", "--last", kind=int, default=-1, metavar="N", help="The N created last, whatever their state.")
@option("-l", "--latest", is_flag=True, help="The one created last, whatever its state.")
@option("-q", "--quiet", is_flag=True, help="Only ids.")
@option("-s", "--size", is_flag=True, help="With the size of what they wrote.")
@option("--no-trunc", is_flag=True, help="Do not shorten ids and commands.")
@filter_option("ancestor, exited, health, id, label, name, network, status, volume, before, since")
@format_option
def command(
    app: App,
    all_containers: bool,
    last: int,
    latest: bool,
    quiet: bool,
    size: bool,
    no_trunc: bool,
    filters: tuple[str, ...],
    output_format: str,
) -> None:
    """List containers, the newest first."""
    limit = 1 if latest else last if last > 0 else None
    query = {
        "all": all_containers or limit is not None,
        "limit": limit,
        "size": size,
        "filters": render_filters(parse_filters(filters)),
    }
    containers = app.api.get("/containers/json", query)
    if quiet:
        print_lines(it["Id"] if no_trunc else short_id(it["Id"]) for it in containers)
        return
    moment = now()

    def row(it: dict[str, Any]) -> list[str]:
        image = it["Image"]
        cells = [
            it["Id"] if no_trunc else short_id(it["Id"]),
            image if no_trunc or not image.startswith("sha256:") else short_id(image),
            _quoted(it["Command"], no_trunc),
            render_ago(from_seconds(it["Created"]), moment),
            it["Status"],
            _render_ports(it.get("Ports") or []),
            ",".join(name.lstrip("/") for name in it["Names"] or []),
        ]
        if size:
            cells.append(f"{render_size(it.get('SizeRw') or 0)} (virtual {render_size(it.get('SizeRootFs') or 0)})")
        return cells

    headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    print_listing(output_format, containers, [*headings, "SIZE"] if size else headings, row)


def _quoted(command: str, no_trunc: bool) -> str:
    return f'"{command if no_trunc or len(command) <= 20 else command[:19] + "…"}"'


def _render_ports(ports: list[dict[str, Any]]) -> str:
    texts = []
    for port in ports:
        inner = f"{port['PrivatePort']}/{port['Type']}"
        texts.append(f"{port.get('IP', '')}:{port['PublicPort']}->{inner}" if port.get("PublicPort") else inner)
    return ", ".join(sorted(set(texts)))
