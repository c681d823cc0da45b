"""`orlop rename`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.client.api import quote


@declare(examples=[("orlop rename web web-old", "")])
@argument("container", metavar="CONTAINER")
@argument("new_name", metavar="NEW_NAME")
def command(app: App, container: str, new_name: str) -> None:
    """Give a container another name."""
    app.api.post(f"/containers/{quote(container)}/rename", {"name": new_name})
