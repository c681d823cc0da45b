"""`orlop export`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import quote


@declare(examples=[("orlop export -o web.tar web", ""), ("orlop export web | tar -t", "")])
@option("-o", "--output", default="", metavar="FILE", help="Write to this file [default: standard output].")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@argument("container", metavar="CONTAINER")
def command(app: App, container: str, output: str, quiet: bool) -> None:
    """Write a container's file system as a tar archive. What is in volumes is not in it."""
    from orlop.cli.transfer import open_output, receive_archive

    with open_output(output) as target:
        response = app.api.stream("GET", f"/containers/{quote(container)}/export")
        receive_archive(response, target, "receiving", quiet)
