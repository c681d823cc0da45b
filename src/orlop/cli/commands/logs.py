"""`orlop logs`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import Query, quote


@declare(
    examples=[
        ("orlop logs -f --tail 20 web", "the last 20 lines, and what follows"),
        ("orlop logs --since 10m web", ""),
    ],
)
@option("-f", "--follow", is_flag=True, help="Go on with what is written, until it exits.")
@option("-n", "--tail", default="all", metavar="N", help="Only the last N lines [default: all].")
@option("--since", default="", metavar="TIME", help="Only after: 2026-01-02T15:04:05, seconds, or 10m ago.")
@option("--until", default="", metavar="TIME", help="Only before.")
@option("-t", "--timestamps", is_flag=True, help="With the time of each line.")
@option("--details", is_flag=True, hidden=True)
@argument("container", metavar="CONTAINER")
def command(
    app: App, container: str, follow: bool, tail: str, since: str, until: str, timestamps: bool, details: bool
) -> None:
    """Show what a container wrote to its standard output and error."""
    from orlop.cli.log_copy import copy_log
    from orlop.cli.moments import parse_moment

    path = f"/containers/{quote(container)}"
    query: Query = {
        "stdout": True,
        "stderr": True,
        "follow": follow,
        "tail": tail,
        "since": parse_moment(since, "--since"),
        "until": parse_moment(until, "--until"),
        "timestamps": timestamps,
        "details": details,
    }
    has_terminal = app.api.get(f"{path}/json")["Config"]["Tty"]
    copy_log(app.api.stream("GET", f"{path}/logs", query), framed=not has_terminal)
