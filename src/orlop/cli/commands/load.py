"""`orlop load`."""

import sys

from orlop.cli.app import App
from orlop.cli.declaring import declare, option


@declare(
    examples=[
        ("orlop load -i debian.tar.zst", ""),
        ("skopeo copy docker://debian:12 docker-archive:/dev/stdout:debian:12 | orlop load", ""),
    ],
)
@option("-i", "--input", "path", default="-", metavar="FILE", help="Read from this file [default: standard input].")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("--platform", default="", metavar="OS/ARCH", hidden=True)
def command(app: App, path: str, quiet: bool, platform: str) -> None:
    """Load images from an archive: as `docker save` or other tools write it, or an OCI layout; plain or compressed.

    Every digest is verified, and an archive that is not whole leaves nothing behind.
    """
    from orlop.cli.transfer import open_archive, read_messages, send_archive

    with open_archive(path) as source:
        response = send_archive(app, "/images/load", {"quiet": quiet or None}, source, "sending", quiet)
        for message in read_messages(response, quiet):
            sys.stdout.write(message.get("stream", ""))
