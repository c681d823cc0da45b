"""`orlop import`."""

import sys

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import Query


@declare(
    examples=[
        ("orlop import rootfs.tar busybox", ""),
        ("""tar -C rootfs -c . | orlop import -c 'CMD ["sh"]' -c 'ENV LANG=C' - mine:1""", ""),
    ],
)
@option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
              help="Set CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR or STOPSIGNAL.")  # fmt: skip
@option("-m", "--message", default="", metavar="TEXT", help="Comment for the history.")
@option("--platform", default="", metavar="OS/ARCH", help="Platform of the image.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@argument("archive", metavar="FILE|-")
@argument("name", default="", metavar="[NAME[:TAG]]")
def command(
    app: App, archive: str, name: str, changes: tuple[str, ...], message: str, platform: str, quiet: bool
) -> None:
    """Make an image of one layer from the tar archive of a file system, and print its id."""
    from orlop.cli.references import split_reference
    from orlop.cli.transfer import open_archive, read_messages, send_archive

    repository, tag = split_reference(name)
    query: Query = {
        "fromSrc": "-",
        "repo": repository or None,
        "tag": tag or None,
        "message": message or None,
        "platform": platform or None,
        "changes": changes,
    }
    with open_archive(archive) as source:
        response = send_archive(app, "/images/create", query, source, "sending", quiet)
        for line in read_messages(response, quiet):
            sys.stdout.write(f"{line.get('status', line.get('stream', ''))}\n")
