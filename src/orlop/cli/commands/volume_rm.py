"""`orlop volume rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote


@declare(
    examples=[
        ("orlop volume rm data", ""),
        ("orlop volume rm data && orlop volume restore data", "think again"),
    ],
)
@option("-f", "--force", is_flag=True, help="A volume that does not exist is no failure.")
@option("-q", "--quiet", is_flag=True, help="Do not say how to bring them back.")
@argument("names", many=True, required=True, metavar="VOLUME...")
def command(app: App, names: tuple[str, ...], force: bool, quiet: bool) -> int:
    """Remove volumes. Their data is put aside, not destroyed: until its time has run out, `orlop volume restore`
    brings it back.

    A volume that a container uses, running or not, is refused.
    """
    removed: list[str] = []

    def remove(name: str) -> None:
        app.api.delete(f"/volumes/{quote(name)}", {"force": force})
        removed.append(name)

    status = each(names, remove)
    if removed and not quiet:
        from orlop.cli.retired import tell_how_to_restore

        tell_how_to_restore(app, removed)
    return status
