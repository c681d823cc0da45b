"""`orlop images`, `orlop image ls`."""

from collections.abc import Iterator
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.human import from_seconds, now, render_ago, render_size, short_id
from orlop.cli.output import filter_option, format_option, parse_filters, print_lines, print_listing
from orlop.client.api import render_filters

NONE = "<none>"


@declare(
    examples=[
        ("orlop images", ""),
        ("orlop images busybox", "those of that name"),
        ("orlop images --filter dangling=true -q", "ids of those without a name"),
    ],
)
@option("-a", "--all", "all_images", is_flag=True, help="Those in between, too.")
@option("-q", "--quiet", is_flag=True, help="Only ids.")
@option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@option("--digests", is_flag=True, help="With digests.")
@filter_option("before, dangling, label, reference, since")
@format_option
@argument("name", default="", metavar="[NAME[:TAG]]")
def command(
    app: App,
    name: str,
    all_images: bool,
    quiet: bool,
    no_trunc: bool,
    digests: bool,
    filters: tuple[str, ...],
    output_format: str,
) -> None:
    """List images, the newest first."""
    wanted = parse_filters(filters)
    if name:
        wanted.setdefault("reference", []).append(name)
    images = app.api.get("/images/json", {"all": all_images, "filters": render_filters(wanted)})
    images.sort(key=lambda it: -it["Created"])
    if output_format == "json":
        print_listing(output_format, images, (), lambda it: ())
        return
    if quiet:
        print_lines(dict.fromkeys(it["Id"] if no_trunc else short_id(it["Id"]) for it in images))
        return
    moment = now()

    def row(named: tuple[str, str, dict[str, Any]]) -> list[str]:
        repository, tag, it = named
        digest = [(it.get("RepoDigests") or [f"{NONE}@{NONE}"])[0].partition("@")[2]] if digests else []
        identifier = it["Id"] if no_trunc else short_id(it["Id"])
        return [repository, tag, *digest, identifier, render_ago(from_seconds(it["Created"]), moment),
                render_size(it["Size"])]  # fmt: skip

    headings = ["REPOSITORY", "TAG", *(["DIGEST"] if digests else []), "IMAGE ID", "CREATED", "SIZE"]
    rows = [row(named) for image in images for named in _names(image)]
    print_listing(output_format, rows, headings, lambda cells: cells)  # type: ignore[arg-type]


def _names(image: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """An image once for each of its names."""
    for reference in image.get("RepoTags") or [f"{NONE}:{NONE}"]:
        repository, _, tag = reference.rpartition(":")
        yield repository, tag, image
