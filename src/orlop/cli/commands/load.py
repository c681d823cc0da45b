"""`orlop load`."""

import sys

import click

from orlop.cli.app import App
from orlop.cli.command import Command


@click.command(
    cls=Command,
    examples=[
        ("orlop load -i debian.tar.zst", ""),
        ("skopeo copy docker://debian:12 docker-archive:/dev/stdout:debian:12 | orlop load", ""),
    ],
)
@click.option(
    "-i", "--input", "path", default="-", metavar="FILE", help="Read from this file [default: standard input]."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("--platform", default="", metavar="OS/ARCH", hidden=True)
@click.pass_obj
def command(app: App, path: str, quiet: bool, platform: str) -> None:
    """Load images from an archive: as `docker save` or other tools write it, or an OCI layout; plain or compressed.

    Every digest is verified, and an archive that is not whole leaves nothing behind.
    """
    from orlop.cli.transfer import open_archive, read_messages, send_archive

    with open_archive(path) as source:
        response = send_archive(app, "/images/load", {"quiet": quiet or None}, source, "sending", quiet)
        for message in read_messages(response, quiet):
            sys.stdout.write(message.get("stream", ""))
