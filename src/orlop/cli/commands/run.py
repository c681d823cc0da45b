"""`orlop run`."""

import contextlib
from typing import Any

from orlop.cli.app import App
from orlop.cli.container_options import container_options
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line
from orlop.client.errors import ApiError, ClientError

ENGINE_FAILED = 125


@declare(
    interspersed=False,
    examples=[
        ("orlop run --rm -it busybox sh", "a shell, gone when it ends"),
        ("orlop run --rm -v data:/data busybox touch /data/note", "what it writes to /data stays in the volume data"),
        ("orlop run -d --name db -v data:/var/lib/db -m 512m debian db-server", "in the background"),
    ],
    statuses=[
        ("0-255", "the exit code of the container's program"),
        ("125", "the engine refused or failed, or an option is not understood"),
        ("126", "the program cannot be run"),
        ("127", "the program was not found"),
    ],
)
@option("-d", "--detach", is_flag=True, help="Run in the background and print the id.")
@option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the program [default: yes].")
@option("--detach-keys", default="", metavar="KEYS", help="Keys that detach from a terminal [ctrl-p,ctrl-q].")
@container_options
@argument("image", metavar="IMAGE")
@argument("arguments", many=True, metavar="[COMMAND [ARG...]]")
def command(app: App, /, image: str, arguments: tuple[str, ...], **flags: Any) -> int:
    """Create a container from an image and run it: in the foreground, or with -d in the background."""
    from orlop.cli.container_request import attached_streams, render_request

    body = render_request(flags, image, arguments)
    streams = attached_streams(flags)
    if not flags["detach"]:
        from orlop.cli.terminal import parse_detach_keys, require_terminal, size

        require_terminal(flags["tty"], "stdin" in streams)
        if flags["detach_keys"]:
            parse_detach_keys(flags["detach_keys"])
        if flags["tty"] and (found := size()):
            body["HostConfig"]["ConsoleSize"] = list(found)
    try:
        return _run(app, body, streams, flags)
    except ClientError as error:
        if error.exit_code == 1:  # 1 would be the program's
            error.exit_code = ENGINE_FAILED
        raise


def _run(app: App, body: dict[str, Any], streams: frozenset[str], flags: dict[str, Any]) -> int:
    from orlop.cli.creation import create_container

    container = create_container(app, flags, body, None if flags["detach"] else _load_the_rest)
    if flags["detach"]:
        _start(app, container, flags["rm"])
        print_line(container)
        return 0
    from orlop.cli.attached import Foreground, run_in_foreground

    wish = Foreground(
        container,
        tty=flags["tty"],
        stdin="stdin" in streams,
        outputs=streams - {"stdin"},
        forwards_signals=flags["sig_proxy"],
        detach_keys=flags["detach_keys"],
        wait_condition="removed" if flags["rm"] else "next-exit",
    )
    return run_in_foreground(app, wish, lambda: _start(app, container, flags["rm"]))


def _load_the_rest() -> None:
    """While the daemon makes the container: what a container in the foreground needs."""
    import orlop.cli.attached  # noqa: F401


def _start(app: App, container: str, removes: bool) -> None:
    """Raises ClientError with the exit status that tells a program that cannot run from an engine that failed."""
    try:
        app.api.post(f"/containers/{container}/start")
    except ApiError as error:
        from orlop.cli.attached import start_status

        if removes:  # the engine removes it after its exit, and it will have none
            with contextlib.suppress(ApiError):
                app.api.delete(f"/containers/{container}", {"force": True, "v": True})
        raise ClientError(error.message, start_status(error.message)) from error
