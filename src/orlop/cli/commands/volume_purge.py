"""`orlop volume purge`."""

from orlop.cli.app import App
from orlop.cli.asking import confirm, force_option
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop volume purge data", "asks first"),
        ("orlop volume purge --all --force", "everything that was removed"),
    ],
)
@option("-a", "--all", "all_retired", is_flag=True, help="Everything that was removed.")
@force_option
@argument("references", many=True, metavar="[REMOVED_VOLUME...]")
def command(app: App, references: tuple[str, ...], all_retired: bool, force: bool) -> int:
    """Destroy the data of removed volumes now, for good, without waiting for their time to run out.

    This is the only command that destroys the data of a volume. A volume in use or not removed yet is not touched.
    """
    from orlop.cli.retired import describe, find, list_retired

    if bool(references) == all_retired:
        raise ClientError("name the removed volumes to purge, or use --all (`orlop volume ls --retired` lists them)")
    retired = list_retired(app)
    doomed = retired if all_retired else [find(retired, reference) for reference in references]
    confirm("This will destroy for good the data of", [describe(it) for it in doomed], force)
    return each([it["ID"] for it in doomed], lambda it: _purge(app, it))


def _purge(app: App, identifier: str) -> None:
    from orlop.cli.retired import RETIRED

    app.api.delete(f"{RETIRED}/{quote(identifier)}")
