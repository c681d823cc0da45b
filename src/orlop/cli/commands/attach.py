"""`orlop attach`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import quote
from orlop.client.errors import ClientError


@declare(
    examples=[
        ("orlop attach shell", "ctrl-p ctrl-q leaves it running"),
        ("orlop attach --no-stdin --no-sig-proxy web", "only look on; ctrl-c ends the looking"),
    ],
    statuses=[("0-255", "the exit code of the program; 0 after detaching"), ("1", "it does not run")],
)
@option("--no-stdin", is_flag=True, help="Do not pass standard input on.")
@option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the program [default: yes].")
@option("--detach-keys", default="", metavar="KEYS", help="Keys that detach from a terminal [ctrl-p,ctrl-q].")
@argument("container", metavar="CONTAINER")
def command(app: App, container: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Connect the terminal to a running container."""
    from orlop.cli.attached import Foreground, run_in_foreground
    from orlop.cli.terminal import require_terminal

    facts = app.api.get(f"/containers/{quote(container)}/json")
    config, state = facts["Config"], facts["State"]
    if not state["Running"] or state.get("Paused") or state.get("Restarting"):
        raise ClientError(f"cannot attach to {container}: it is {state['Status']}, not running")
    stdin = config["OpenStdin"] and not no_stdin
    require_terminal(config["Tty"], stdin)
    wish = Foreground(
        facts["Id"],
        tty=config["Tty"],
        stdin=stdin,
        forwards_signals=sig_proxy,
        detach_keys=detach_keys,
        wait_condition="not-running",
    )
    return run_in_foreground(app, wish, lambda: None)
