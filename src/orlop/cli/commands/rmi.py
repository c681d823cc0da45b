"""`orlop rmi`, `orlop image rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote
from orlop.client.errors import ApiError


@declare(
    examples=[
        ("orlop rmi busybox:old", "a name; the image itself goes with its last name"),
        ("orlop rmi -f 1f0ab3", ""),
    ],
)
@option("-f", "--force", is_flag=True, help="Even with several names or stopped containers; a missing one is fine.")
@option("--no-prune", is_flag=True, help="Keep parents without a name.")
@argument("images", many=True, required=True, metavar="IMAGE...")
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
