"""`orlop inspect`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.inspection import PATHS, inspect_all, template_option


@declare(
    examples=[
        ("orlop inspect web", "the container of that name, else the image, volume or network"),
        ("orlop inspect --type volume data", ""),
        ("orlop inspect -f '{{.State.Status}}' web", "one value"),
    ],
)
@template_option
@option("-s", "--size", is_flag=True, help="With the sizes of a container's file system.")
@option("--type", "kind", choices=tuple(PATHS), help="Look only among these.")
@argument("names", many=True, required=True, metavar="NAME|ID...")
def command(app: App, names: tuple[str, ...], template: str, size: bool, kind: str | None) -> int:
    """Print everything about containers, images, volumes or networks, as a JSON array."""
    return inspect_all(app, names, (kind,) if kind else tuple(PATHS), template, size)
