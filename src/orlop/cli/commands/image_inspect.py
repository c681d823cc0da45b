"""`orlop image inspect`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.inspection import inspect_all, template_option


@declare(examples=[("orlop image inspect NAME", "")])
@template_option
@argument("names", many=True, required=True, metavar="IMAGE...")
def command(app: App, names: tuple[str, ...], template: str) -> int:
    """Print everything about images, as a JSON array."""
    return inspect_all(app, names, ("image",), template)
