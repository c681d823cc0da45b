"""`orlop exec`."""

import contextlib
import signal
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.client.api import quote
from orlop.client.errors import ApiError, ClientError


@declare(
    interspersed=False,
    examples=[
        ("orlop exec -it web sh", "a shell in it"),
        ("orlop exec -u postgres db psql -c 'select 1'", ""),
        ("echo hi | orlop exec -i web tee /data/note", ""),
    ],
    statuses=[
        ("0-255", "the exit code of the command"),
        ("125", "the engine failed"),
        ("126", "the command cannot be run"),
        ("127", "the command was not found"),
    ],
)
@option("-d", "--detach", is_flag=True, help="Run it in the background.")
@option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable; only a name: pass on this shell's.")
@option("--env-file", multiple=True, metavar="FILE", help="Set the variables of a file, one a line.")
@option("-u", "--user", default="", metavar="USER[:GROUP]", help="Run as this user.")
@option("-w", "--workdir", default="", metavar="PATH", help="Working directory.")
@option("--privileged", is_flag=True, help="Give it everything that the host's root has.")
@option("--detach-keys", default="", metavar="KEYS", help="Keys that detach from a terminal [ctrl-p,ctrl-q].")
@argument("container", metavar="CONTAINER")
@argument("arguments", many=True, required=True, metavar="COMMAND [ARG...]")
def command(app: App, /, container: str, arguments: tuple[str, ...], **flags: Any) -> int:
    """Run a command in a running container."""
    from orlop.cli.terminal import parse_detach_keys, require_terminal, size
    from orlop.cli.words import read_pairs_file, resolve_variables

    attached = not flags["detach"]
    stdin = attached and flags["interactive"]
    if attached:
        require_terminal(flags["tty"], stdin)
    if flags["detach_keys"]:
        parse_detach_keys(flags["detach_keys"])
    lines = [line for path in flags["env_file"] for line in read_pairs_file(path, "--env-file")]
    console = list(found) if flags["tty"] and (found := size()) else None
    body = {
        "AttachStdin": stdin,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Tty": flags["tty"],
        "Cmd": list(arguments),
        "Env": resolve_variables([*lines, *flags["env"]]),
        "User": flags["user"],
        "WorkingDir": flags["workdir"],
        "Privileged": flags["privileged"],
        "DetachKeys": flags["detach_keys"],
        "ConsoleSize": console,
    }
    identifier = app.api.post(f"/containers/{quote(container)}/exec", body=body)["Id"]
    start = {"Detach": not attached, "Tty": flags["tty"], "ConsoleSize": console}
    try:
        if not attached:
            app.api.post(f"/exec/{identifier}/start", body=start)
            return 0
        if not _stream(app, identifier, start, stdin, flags):
            return 0
    except ApiError as error:
        from orlop.cli.attached import start_status

        raise ClientError(error.message, start_status(error.message)) from error
    return int(app.api.get(f"/exec/{identifier}/json")["ExitCode"] or 0)


def _stream(app: App, identifier: str, start: dict[str, Any], stdin: bool, flags: dict[str, Any]) -> bool:
    """False when the user detached."""
    from orlop.cli.attached import resize
    from orlop.cli.streaming import Signals, Stream
    from orlop.cli.terminal import DEFAULT_DETACH_KEYS, DetachKeys, parse_detach_keys, raw

    tty = flags["tty"]
    keys = parse_detach_keys(flags["detach_keys"] or DEFAULT_DETACH_KEYS)

    def act(number: int) -> None:
        if number != signal.SIGWINCH:
            raise SystemExit(128 + number)  # through the finally clauses, which put the terminal right
        resize(app, f"/exec/{identifier}/resize")

    signals = Signals(frozenset({signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP}), act) if tty else None
    try:
        with raw(0) if tty and stdin else contextlib.nullcontext():
            connection, received = app.api.hijack(f"/exec/{identifier}/start", body=start)
            with connection:
                if tty:
                    resize(app, f"/exec/{identifier}/resize")
                detach = DetachKeys(keys) if tty and stdin else None
                stream = Stream(connection, received, framed=not tty, stdin=stdin, detach=detach, signals=signals)
                return stream.pump()
    finally:
        if signals is not None:
            signals.restore()
