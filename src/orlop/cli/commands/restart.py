"""`orlop restart`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop restart web", "")])
@option(
    "-t",
    "--time",
    "--timeout",
    "seconds",
    kind=int,
    metavar="SECONDS",
    help="How long to wait before it is killed; -1 waits for ever [default: the container's, else 10].",
)
@option("-s", "--signal", default="", metavar="SIGNAL", help="The signal to send [default: the container's].")
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...], seconds: int | None, signal: str) -> int:
    """Stop containers as `orlop stop` does, and start them again."""
    query = {"t": seconds, "signal": signal or None}
    return each(containers, lambda name: app.api.post(f"/containers/{quote(name)}/restart", query))
