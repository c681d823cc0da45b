"""`orlop node rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop node rm old-host", "")])
@argument("nodes", many=True, metavar="NODE...")
def command(app: App, nodes: tuple[str, ...]) -> int:
    """Take hosts out of the cluster that are gone for good.

    What their containers used counts as used no more. A host that is alive is refused: stop its daemon first.
    """

    def remove(name: str) -> str:
        app.api.delete(f"/orlop/v1/nodes/{quote(name)}")
        return name

    return each(nodes, remove)
