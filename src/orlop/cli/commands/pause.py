"""`orlop pause`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop pause web", "")])
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...]) -> int:
    """Freeze all processes of containers, until `orlop unpause`."""
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/pause"))
