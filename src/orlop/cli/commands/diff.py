"""`orlop diff`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import format_option, print_line, print_listing
from orlop.client.api import quote

_KINDS = "CAD"  # changed, added, deleted: the API's 0, 1, 2


@declare(examples=[("orlop diff web", "A is added, C changed, D deleted")])
@format_option
@argument("container", metavar="CONTAINER")
def command(app: App, container: str, output_format: str) -> None:
    """Show what a container changed in its file system, outside of volumes."""
    changes = app.api.get(f"/containers/{quote(container)}/changes") or []
    if output_format == "json":
        print_listing(output_format, changes, (), lambda it: ())
        return
    for change in changes:
        print_line(f"{_KINDS[change['Kind']]} {change['Path']}")
