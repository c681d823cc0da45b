"""`orlop create`."""

from typing import Any

from orlop.cli.app import App
from orlop.cli.container_options import container_options
from orlop.cli.declaring import argument, declare
from orlop.cli.output import print_line


@declare(
    interspersed=False,
    examples=[
        ("orlop create --name db -v data:/var/lib/db debian db-server", ""),
        ("orlop start db", "and there it runs"),
    ],
    statuses=[("0", "done"), ("125", "the container could not be created")],
)
@container_options
@argument("image", metavar="IMAGE")
@argument("arguments", many=True, metavar="[COMMAND [ARG...]]")
def command(app: App, /, image: str, arguments: tuple[str, ...], **flags: Any) -> None:
    """Create a container without starting it, and print its id. Its volumes are made, and filled from the image."""
    from orlop.cli.container_request import render_request
    from orlop.cli.creation import create_container

    print_line(create_container(app, flags, render_request(flags, image, arguments)))
