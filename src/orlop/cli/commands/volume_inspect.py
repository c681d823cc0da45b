"""`orlop volume inspect`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare
from orlop.cli.inspection import inspect_all, template_option


@declare(examples=[("orlop volume inspect data", "")])
@template_option
@argument("names", many=True, required=True, metavar="VOLUME...")
def command(app: App, names: tuple[str, ...], template: str) -> int:
    """Print everything about volumes, as a JSON array."""
    return inspect_all(app, names, ("volume",), template)
