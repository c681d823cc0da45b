"""`orlop start`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import each
from orlop.client.api import quote
from orlop.client.errors import ApiError, ClientError


@declare(
    examples=[("orlop start web db", ""), ("orlop start -ai shell", "in the foreground, with the terminal")],
    statuses=[
        ("0", "done; with --attach the exit code of the program"),
        ("1", "one of them could not be started: the reason is on stderr"),
    ],
)
@option("-a", "--attach", is_flag=True, help="Stay in the foreground and show its output.")
@option("-i", "--interactive", is_flag=True, help="Pass standard input on; implies --attach.")
@option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the program [default: yes].")
@option("--detach-keys", default="", metavar="KEYS", help="Keys that detach from a terminal [ctrl-p,ctrl-q].")
@argument("containers", many=True, required=True, metavar="CONTAINER...")
def command(
    app: App, containers: tuple[str, ...], attach: bool, interactive: bool, sig_proxy: bool, detach_keys: str
) -> int:
    """Start stopped containers. One that runs already is fine."""
    if not attach and not interactive:
        return each(containers, lambda name: _start(app, name))
    if len(containers) != 1:
        raise ClientError("only one container can be in the foreground")
    from orlop.cli.attached import Foreground, run_in_foreground
    from orlop.cli.terminal import require_terminal

    facts = app.api.get(f"/containers/{quote(containers[0])}/json")
    config = facts["Config"]
    stdin = interactive and config["OpenStdin"]
    require_terminal(config["Tty"], stdin)
    wish = Foreground(
        facts["Id"],
        tty=config["Tty"],
        stdin=stdin,
        forwards_signals=sig_proxy,
        detach_keys=detach_keys,
        wait_condition="removed" if facts["HostConfig"].get("AutoRemove") else "next-exit",
    )
    return run_in_foreground(app, wish, lambda: _start(app, containers[0]))


def _start(app: App, name: str) -> None:
    from orlop.cli.attached import start_status

    try:
        app.api.post(f"/containers/{quote(name)}/start")
    except ApiError as error:
        status = start_status(error.message)
        raise ClientError(error.message, status if status != 125 else 1) from error
