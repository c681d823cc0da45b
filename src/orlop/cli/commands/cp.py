"""`orlop cp`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop cp settings.ini web:/etc/web/", "into a directory that exists"),
        ("orlop cp web:/var/log/. logs", "what is in the directory, to logs here"),
        ("orlop cp web:/etc - | tar -t", "as a tar archive"),
    ],
)
@option("-a", "--archive", is_flag=True, help="Keep owners.")
@option("-L", "--follow-link", is_flag=True, help="Copy what SOURCE points at, where it is a symbolic link.")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@argument("source", metavar="SOURCE")
@argument("target", metavar="TARGET")
def command(app: App, source: str, target: str, archive: bool, follow_link: bool, quiet: bool) -> None:
    """Copy files between a container, running or not, and this machine.

    One of the two is CONTAINER:PATH. A directory that exists gets the source into it; `DIR/.` means what is in DIR;
    "-" is a tar archive on standard input or output.
    """
    from orlop.cli.copying import Copy, parse_place

    here, there = parse_place(source), parse_place(target)
    copy = Copy(app, archive, follow_link, quiet)
    if here.container and there.container:
        raise ClientError("copying from container to container is not possible: use a directory here, or a volume")
    if there.container:
        copy.into_container(source, there)
    elif here.container:
        copy.out_of_container(here, target)
    else:
        raise ClientError("one of the two must be CONTAINER:PATH")
