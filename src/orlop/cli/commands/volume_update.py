"""`orlop volume update`."""

from collections.abc import Mapping, Sequence

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line, warn
from orlop.cli.words import parse_pairs
from orlop.client.api import quote
from orlop.client.errors import ClientError

_LIMITS = frozenset({"size", "inodes"})
_OWNER = frozenset({"uid", "gid", "mode"})


@declare(
    examples=[
        ("orlop volume update --size 20g data", "room for more, at once, also while containers use it"),
        ("orlop volume update --label orlop.protect=true data", "rm and prune refuse it from now on"),
        ("orlop volume update --opt o=addr=10.0.0.9,rw --opt-rm size share", "from the next mount"),
    ],
)
@option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Add or change a label.")
@option("--label-rm", "labels_gone", multiple=True, metavar="KEY", help="Take a label off.")
@option("--opt", "options", multiple=True, metavar="KEY=VALUE", help="Add or change an option of the driver.")
@option("--opt-rm", "options_gone", multiple=True, metavar="KEY", help="Take an option away.")
@option("--size", default="", metavar="SIZE", help="The most it may hold, such as 20g; the same as --opt size=SIZE.")
@argument("volume", metavar="VOLUME")
def command(
    app: App,
    volume: str,
    labels: tuple[str, ...],
    labels_gone: tuple[str, ...],
    options: tuple[str, ...],
    options_gone: tuple[str, ...],
    size: str,
) -> None:
    """Change the labels and options of a volume, and print its name. What is not named stays as it is.

    A size holds at once. Other options hold from the next time that the volume is mounted while no container uses it.
    """
    wanted_options = parse_pairs(options) | ({"size": size} if size else {})
    if not (labels or labels_gone or wanted_options or options_gone):
        raise ClientError("say what to change: --label, --label-rm, --opt, --opt-rm or --size", 125)
    now = app.api.get(f"/volumes/{quote(volume)}")
    body: dict[str, dict[str, str]] = {}
    if labels or labels_gone:
        body["Labels"] = _merged(now["Labels"] or {}, parse_pairs(labels), labels_gone, "label")
    if wanted_options or options_gone:
        body["DriverOpts"] = _merged(now["Options"] or {}, wanted_options, options_gone, "option")
    changed = app.api.call("PUT", f"/volumes/{quote(volume)}", body=body)
    later = sorted({*wanted_options, *options_gone} - _LIMITS)
    if not _LIMITS.union(["type"]).intersection(changed["Options"] or {}):
        later = [key for key in later if key not in _OWNER]  # a plain directory: it has them by now
    if later:
        warn(f"{', '.join(later)}: from the next mount on, once no container uses the volume")
    print_line(changed["Name"])


def _merged(now: Mapping[str, str], added: Mapping[str, str], gone: Sequence[str], what: str) -> dict[str, str]:
    missing = [key for key in gone if key not in now]
    if missing:
        raise ClientError(f"the volume has no {what} {missing[0]!r}")
    return {key: value for key, value in {**now, **added}.items() if key not in gone}
