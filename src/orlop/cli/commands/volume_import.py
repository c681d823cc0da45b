"""`orlop volume import`."""

import json
import os

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import format_option
from orlop.client.api import Query


@declare(
    examples=[
        ("orlop volume import data.tar.zst", "under the name that it had"),
        ("orlop volume import again data.tar.zst", "under another name"),
        ("tar -C /srv/site -c . | orlop volume import site -", "any tar will do"),
    ],
)
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label, besides those in the archive.")
@option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option, besides those in the archive.")
@option("-d", "--driver", default="", metavar="DRIVER", help="Volume driver [default: the archive's].")
@option("-q", "--quiet", is_flag=True, help="No progress, and no notes.")
@format_option
@argument("first", default="", metavar="[NAME]")
@argument("second", default="", metavar="[FILE|-]")
def command(
    app: App,
    first: str,
    second: str,
    labels: tuple[str, ...],
    options: tuple[str, ...],
    driver: str,
    quiet: bool,
    output_format: str,
) -> None:
    """Make a volume from a tar archive, plain or packed (gzip, bzip2, xz, zstd), and print its name.

    One that `orlop volume export` wrote brings its name, labels and options; any other needs a NAME. A single word is a
    file, if there is one of that name, and a volume's name otherwise; without a file the archive is read from standard
    input. The volume appears when it is complete: a broken archive leaves nothing.
    """
    from orlop.cli.transfer import open_archive, send_archive
    from orlop.cli.volume_results import tell_result

    name, path = _sort_out(first, second)
    query: Query = {"name": name or None, "driver": driver or None, "label": labels, "opt": options}
    with open_archive(path) as source:
        response = send_archive(app, "/orlop/v1/volumes/import", query, source, "sending", quiet)
        tell_result(json.loads(response.read()), output_format, quiet)


def _sort_out(first: str, second: str) -> tuple[str, str]:
    """Name and file."""
    if second or not first:
        return first, second or "-"
    is_file = first == "-" or "/" in first or os.path.exists(first)  # noqa: PTH110 (pathlib costs more than it gives)
    return ("", first) if is_file else (first, "-")
