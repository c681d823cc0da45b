"""`orlop image prune`."""

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.declaring import declare, option
from orlop.cli.output import filter_option, parse_filters
from orlop.cli.pruning import nameless_images, prune_images


@declare(
    examples=[
        ("orlop image prune", ""),
        ("orlop image prune --all", "also those with a name, where no container uses them"),
    ],
)
@option("-a", "--all", "all_images", is_flag=True, help="All that no container uses, also those with a name.")
@filter_option("label, label!, until", short=False)
@force_option
def command(app: App, all_images: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove images that have no name and no container."""
    wanted = parse_filters(filters)
    if not force:
        what = "all images that no container uses" if all_images else "all images without a name and a container"
        confirm(f"This will remove {what}", [] if all_images else nameless_images(app), force)
    prune_images(app, wanted, all_images)
