"""`orlop unpause`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop unpause web", "")])
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...]) -> int:
    """Let the processes of frozen containers go on."""
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/unpause"))
