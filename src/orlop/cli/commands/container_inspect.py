"""`orlop container inspect`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.inspection import inspect_all, template_option


@declare(examples=[("orlop container inspect NAME", "")])
@template_option
@argument("names", many=True, required=True, metavar="CONTAINER...")
def command(app: App, names: tuple[str, ...], template: str) -> int:
    """Print everything about containers, as a JSON array."""
    return inspect_all(app, names, ("container",), template)
