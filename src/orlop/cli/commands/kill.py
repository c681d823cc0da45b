"""`orlop kill`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop kill web", ""), ("orlop kill -s HUP web", "have it read its settings again")])
@option("-s", "--signal", default="KILL", metavar="SIGNAL", help="Signal, by name or number [default: KILL].")
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...], signal: str) -> int:
    """Send a signal to containers; without a name, the one that ends them at once."""
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/kill", {"signal": signal}))
