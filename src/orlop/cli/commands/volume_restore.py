"""`orlop volume restore`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line
from orlop.client.api import quote


@declare(
    examples=[
        ("orlop volume restore data", "the one of that name that was removed last"),
        ("orlop volume restore 3f2a9c --as data-of-monday", "by its id, under another name"),
    ],
)
@option("--as", "new_name", default="", metavar="NAME", help="The name to give it, where its own is taken.")
@argument("reference", metavar="REMOVED_VOLUME")
def command(app: App, reference: str, new_name: str) -> None:
    """Bring a removed volume back, with its data, labels and options, and print its name.

    `orlop volume ls --retired` lists what can be restored, and until when.
    """
    from orlop.cli.retired import RETIRED

    volume = app.api.post(f"{RETIRED}/{quote(reference)}/restore", body={"Name": new_name})
    print_line(volume["Name"])
