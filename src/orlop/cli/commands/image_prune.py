"""`orlop image prune`."""

import click

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.command import Command
from orlop.cli.output import parse_filters, prune_filter_option
from orlop.cli.pruning import nameless_images, prune_images


@click.command(
    cls=Command,
    examples=[
        ("orlop image prune", ""),
        ("orlop image prune --all", "also those with a name, where no container uses them"),
    ],
)
@click.option("-a", "--all", "all_images", is_flag=True, help="All that no container uses, also those with a name.")
@prune_filter_option("label, label!, until")
@force_option
@click.pass_obj
def command(app: App, all_images: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove images that have no name and no container."""
    wanted = parse_filters(filters)
    if not force:
        what = "all images that no container uses" if all_images else "all images without a name and a container"
        confirm(f"This will remove {what}", [] if all_images else nameless_images(app), force)
    prune_images(app, wanted, all_images)
