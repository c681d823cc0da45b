"""`orlop plugin serve`: another one that works on the disk, because it stands in for a daemon."""

import gc

from orlop.cli.app import App
from orlop.cli.commands.daemon import seconds
from orlop.cli.declaring import declare, option


@declare(
    examples=[
        ("sudo orlop plugin serve --driver cloud", "then: docker volume create -d orlop-cloud ..."),
        ("sudo orlop plugin serve --driver local --socket /run/docker/plugins/fast.sock --root /srv/fast",
         "docker volume create -d fast -o size=1g db"),
    ],
    statuses=[("0", "stopped by SIGTERM; what containers have mounted stays mounted"), ("1", "it could not start")],
)  # fmt: skip
@option("--driver", metavar="NAME", default="local", help="Which of Orlop's volume drivers [local].")
@option("--socket", metavar="PATH", default="",
        help="Its name is the driver's for Docker and Podman [/run/docker/plugins/orlop-NAME.sock].")  # fmt: skip
@option("--root", metavar="DIR", default="", help="Where volumes and secrets are kept [/var/lib/orlop-plugins/NAME].")
@option("--grace", "grace_seconds", metavar="TIME", check=seconds,
        help="How long a removed volume can be brought back, such as 24h; 0: not at all [24h].")  # fmt: skip
@option("-D", "--debug", is_flag=True, help="Log more.")
def command(app: App, /, driver: str, socket: str, root: str, grace_seconds: int | None, debug: bool) -> int:
    """Serve a volume driver to Docker and Podman, by Docker's volume plugin protocol, in the foreground, until SIGTERM.

    No daemon of Orlop's is needed. What containers have mounted stays mounted when this ends, and goes on when it is
    started again. A removed volume comes back by: docker volume create -d orlop-NAME -o restore=VOLUME VOLUME
    """
    gc.enable()  # the command's main turned it off, for the sake of short commands
    from orlop.daemon.lend import Loan, serve

    return serve(Loan(driver, socket, root, 24 * 3600 if grace_seconds is None else grace_seconds, debug))
