"""`orlop volume rename`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import quote


@declare(
    examples=[
        ("orlop volume rename data data-2025", "containers that know it as data keep working"),
        ("orlop volume rm data", "afterwards: let go of the old name; the data stays, as data-2025"),
    ],
)
@option("--no-alias", is_flag=True, help="Free the old name at once. Refused while containers know it by that name.")
@argument("volume", metavar="VOLUME")
@argument("new_name", metavar="NEW_NAME")
def command(app: App, volume: str, new_name: str, no_alias: bool) -> None:
    """Give a volume another name. Running containers keep it, and it goes on answering to the old name, its alias,
    until `orlop volume rm` lets go of that.
    """
    app.api.post(f"/orlop/v1/volumes/{quote(volume)}/rename", body={"Name": new_name, "Alias": not no_alias})
