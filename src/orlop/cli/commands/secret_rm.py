"""`orlop secret rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.client.api import quote


@declare(examples=[("orlop secret rm s3key", "refused while a volume needs it")])
@argument("names", many=True, metavar="NAME...")
def command(app: App, names: tuple[str, ...]) -> int:
    """Remove secrets, and print their names."""
    return each(names, lambda name: app.api.delete(f"/orlop/v1/secrets/{quote(name)}"))
