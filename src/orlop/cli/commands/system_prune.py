"""`orlop system prune`."""

import sys

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.declaring import declare, option
from orlop.cli.departures import ask_for_prune, render_departures, without_stopped
from orlop.cli.output import filter_option, parse_filters
from orlop.cli.pruning import prune_containers, prune_images, prune_volumes, stopped_containers


@declare(
    examples=[("orlop system prune", ""), ("orlop system prune --all --volumes --force", "")],
)
@option("-a", "--all", "all_images", is_flag=True, help="All images that no container uses, also those with a name.")
@option("--volumes", is_flag=True, help="Anonymous volumes too (they can be restored for a while).")
@filter_option("label, label!, until", short=False)
@force_option
def command(app: App, all_images: bool, volumes: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove stopped containers and the images that nothing uses then. Volumes stay, unless --volumes."""
    wanted = parse_filters(filters)
    of_volumes = {key: values for key, values in wanted.items() if key != "until"}
    if not force:
        parts = ["all stopped containers", "all unused images" if all_images else "all images without a name"]
        if volumes:
            parts.append("all anonymous volumes that no container uses")
            if found := ask_for_prune(app, of_volumes, all_volumes=False):
                sys.stderr.write(render_departures(without_stopped(found)))
        confirm(f"This will remove {', '.join(parts)}; of containers", stopped_containers(app), force)
    prune_containers(app, wanted)
    prune_images(app, wanted, all_images)
    if volumes:
        prune_volumes(app, of_volumes)
