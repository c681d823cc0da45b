"""`orlop rmi`, `orlop image rm`."""

import click

from orlop.cli.app import App
from orlop.cli.command import Command
from orlop.cli.output import each
from orlop.client.api import quote
from orlop.client.errors import ApiError


@click.command(
    cls=Command,
    examples=[
        ("orlop rmi busybox:old", "a name; the image itself goes with its last name"),
        ("orlop rmi -f 1f0ab3", ""),
    ],
)
@click.option(
    "-f", "--force", is_flag=True, help="Even with several names or stopped containers; a missing one is fine."
)
@click.option("--no-prune", is_flag=True, help="Keep parents without a name.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def command(app: App, images: tuple[str, ...], force: bool, no_prune: bool) -> int:
    """Remove images."""

    def remove(image: str) -> str:
        try:
            answer = app.api.delete(f"/images/{quote(image)}", {"force": force, "noprune": no_prune})
        except ApiError as error:
            if error.status == 404 and force:
                return ""
            raise
        return "\n".join(f"{verb}: {name}" for item in answer or [] for verb, name in item.items())

    return each(images, remove)
