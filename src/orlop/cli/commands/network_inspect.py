"""`orlop network inspect`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.inspection import inspect_all, template_option


@declare(examples=[("orlop network inspect NAME", "")])
@template_option
@argument("names", many=True, required=True, metavar="NETWORK...")
def command(app: App, names: tuple[str, ...], template: str) -> int:
    """Print everything about networks, as a JSON array."""
    return inspect_all(app, names, ("network",), template)
