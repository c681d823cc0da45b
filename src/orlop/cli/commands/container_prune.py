"""`orlop container prune`."""

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.declaring import declare
from orlop.cli.output import filter_option, parse_filters
from orlop.cli.pruning import prune_containers, stopped_containers


@declare(
    examples=[("orlop container prune", ""), ("orlop container prune -f --filter until=24h", "older than a day")],
)
@filter_option("label, label!, until", short=False)
@force_option
def command(app: App, filters: tuple[str, ...], force: bool) -> None:
    """Remove all stopped containers, and with them what they wrote outside of volumes."""
    wanted = parse_filters(filters)
    if not force:
        confirm("This will remove all stopped containers" + (" that the filter lets through" if filters else ""),
                stopped_containers(app), force)  # fmt: skip
    prune_containers(app, wanted)
