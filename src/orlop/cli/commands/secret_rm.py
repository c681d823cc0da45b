"""`orlop secret rm`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.output import each
from orlop.cli.secrets_on_disk import on_disk, secrets_root_option
from orlop.client.api import quote


@declare(examples=[("orlop secret rm s3key", "refused while a volume needs it")])
@secrets_root_option
@argument("names", many=True, metavar="NAME...")
def command(app: App, names: tuple[str, ...], root: str) -> int:
    """Remove secrets, and print their names."""
    if root:
        return each(names, lambda name: on_disk(root, lambda secrets: secrets.remove(name)))
    return each(names, lambda name: app.api.delete(f"/orlop/v1/secrets/{quote(name)}"))
