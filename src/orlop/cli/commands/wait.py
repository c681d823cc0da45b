"""`orlop wait`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop wait job", "")])
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...]) -> int:
    """Wait until containers have exited, and print their exit codes, one a line."""
    return each(containers, lambda name: str(app.api.post(f"/containers/{quote(name)}/wait")["StatusCode"]))
