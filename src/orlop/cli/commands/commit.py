"""`orlop commit`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line
from orlop.cli.references import split_reference


@declare(examples=[("orlop commit -m 'with tools' -c 'CMD [\"sh\"]' shell tools:1", "")])
@option("-a", "--author", default="", metavar="NAME", help="Author.")
@option("-m", "--message", default="", metavar="TEXT", help="Comment for the history.")
@option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
              help="Set CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR or STOPSIGNAL.")  # fmt: skip
@option("-p", "--pause/--no-pause", default=True, help="Freeze it meanwhile [default: yes].")
@argument("container", metavar="CONTAINER")
@argument("name", default="", metavar="[NAME[:TAG]]")
def command(
    app: App, container: str, name: str, author: str, message: str, changes: tuple[str, ...], pause: bool
) -> None:
    """Make an image of a container's file system, and print its id. What is in volumes is not in it."""
    repository, tag = split_reference(name)
    query = {
        "container": container,
        "repo": repository or None,
        "tag": tag or None,
        "author": author or None,
        "comment": message or None,
        "pause": "1" if pause else "0",
        "changes": changes,
    }
    print_line(app.api.post("/commit", query, {})["Id"])
