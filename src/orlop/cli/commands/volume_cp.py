"""`orlop volume cp`."""

from collections.abc import Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import format_option
from orlop.cli.words import parse_pairs
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop volume cp data data-before-the-upgrade", "a new volume with the data, labels and options of data"),
        ("orlop volume cp --opt size=20g data larger", ""),
        ("orlop volume cp data:/etc/app.ini .", "a file out of a volume"),
        ("orlop volume cp ./site/. web:/html", "what is in a directory, into one of a volume"),
        ("orlop volume cp data:/ - | tar -t", "as a tar archive"),
    ],
)
@option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label, besides those of SOURCE.")
@option("--label-rm", "without_labels", multiple=True, metavar="KEY", help="Label that the new volume does not get.")
@option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="Option, besides those of SOURCE.")
@option("--opt-rm", "without_options", multiple=True, metavar="KEY", help="Option that the new volume does not get.")
@option("-d", "--driver", default="", metavar="DRIVER", help="Driver of the new volume [default: SOURCE's].")
@option("-a", "--archive", is_flag=True, help="Files to here: keep owners.")
@option("-L", "--follow-link", is_flag=True, help="Files: copy what SOURCE points at, where it is a symbolic link.")
@option("-q", "--quiet", is_flag=True, help="No progress, and no notes.")
@format_option
@argument("source", metavar="SOURCE")
@argument("target", metavar="TARGET")
def command(app: App, source: str, target: str, **flags: Any) -> int:
    """Copy a volume to a new one; or files between a volume and this machine.

    With two names, the new volume has the data of SOURCE, down to owners, times, attributes and holes, its labels and
    its options, but for those that say where the data is. SOURCE may be in use: each file is copied as it is found at
    its moment, and what changed meanwhile is told. The new volume appears when it is complete.

    With one VOLUME:PATH, files are copied as by `orlop cp`: a directory that exists gets the source into it; `DIR/.`
    means what is in DIR; "-" is a tar archive on standard input or output.
    """
    from orlop.cli.copying import VOLUME, Copy, parse_place

    here, there = parse_place(source), parse_place(target)
    if here.container and there.container:
        way = f"orlop volume cp {source} - | orlop volume cp - {target}"
        raise ClientError(f"only whole volumes are copied to volumes. For files: {way}")
    if not here.container and not there.container:
        return _copy_volume(app, source, target, flags)
    copy = Copy(app, flags["archive"], flags["follow_link"], flags["quiet"], VOLUME)
    if there.container:
        copy.into_container(source, there)
    else:
        copy.out_of_container(here, target)
    return 0


def _copy_volume(app: App, source: str, target: str, flags: Mapping[str, Any]) -> int:
    from orlop.cli.volume_results import read_copy, tell_result

    body = {
        "Name": target,
        "Driver": flags["driver"],
        "Labels": parse_pairs(flags["labels"]),
        "DriverOpts": parse_pairs(flags["options"]),
        "RemoveLabels": list(flags["without_labels"]),
        "RemoveOptions": list(flags["without_options"]),
    }
    tell_result(read_copy(app, source, body, flags["quiet"]), flags["output_format"], flags["quiet"])
    return 0
