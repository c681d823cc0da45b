"""`orlop tag`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.references import split_reference
from orlop.client.api import quote


@declare(examples=[("orlop tag busybox backup/busybox:monday", "")])
@argument("source", metavar="IMAGE")
@argument("target", metavar="NAME[:TAG]")
def command(app: App, source: str, target: str) -> None:
    """Give an image another name."""
    repository, tag = split_reference(target)
    app.api.post(f"/images/{quote(source)}/tag", {"repo": repository, "tag": tag or "latest"})
