"""`orlop rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote
from orlop.client.errors import ApiError


@declare(
    examples=[
        ("orlop rm web", ""),
        ("orlop rm -f web", "though it runs"),
        ("orlop rm -v web", "and its anonymous volumes, which can be restored for a while"),
    ],
)
@option("-f", "--force", is_flag=True, help="Kill it if it runs; one that does not exist is fine.")
@option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes too.")
@option("-l", "--link", is_flag=True, hidden=True)
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(app: App, containers: tuple[str, ...], force: bool, volumes: bool, link: bool) -> int:
    """Remove containers, and with them what they wrote outside of volumes."""

    def remove(name: str) -> str | None:
        try:
            app.api.delete(f"/containers/{quote(name)}", {"force": force, "v": volumes, "link": link})
        except ApiError as error:
            if not (force and error.status == 404):
                raise
            return ""
        return None

    return each(containers, remove)
