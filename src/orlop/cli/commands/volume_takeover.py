"""`orlop volume takeover`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import print_line
from orlop.client.api import quote


@declare(examples=[("orlop volume takeover db", "")])
@argument("volume", metavar="VOLUME")
def command(app: App, volume: str) -> None:
    """Get write access to a volume that another host writes to.

    That host is told: it freezes the containers that use the volume, writes out what it can, cuts the storage off and
    ends them. If it does not answer, this waits until its lease has run out. Only then does this host have it.
    """
    found = app.api.post(f"/orlop/v1/volumes/{quote(volume)}/takeover")
    print_line(f"{volume}: this host writes, epoch {found['Epoch']}")
