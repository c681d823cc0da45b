"""`orlop daemon`."""

import traceback
from pathlib import Path
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.client.errors import ClientError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not number.isdigit():
        raise ClientError(f"{text!r} is no time: use seconds, or a number with s, m, h or d, such as 24h", 125)
    return int(number) * _UNITS[unit]


def _percent(text: str) -> int:
    if not text.isdigit() or int(text) > 100:
        raise ClientError(f"--volume-low-space {text!r}: use 0 to 100", 125)
    return int(text)


@declare(
    examples=[
        ("sudo orlop daemon", "Docker's data root and socket"),
        ("sudo orlop daemon --data-root /srv/orlop --exec-root /run/orlop2 --host unix:///run/orlop2.sock",
         "one more on the same machine"),
    ],
    statuses=[("0", "stopped by SIGTERM; containers keep running"), ("1", "it could not start")],
)  # fmt: skip
@option("--data-root", metavar="DIR", help="Where images, containers and volumes are kept [/var/lib/docker].")
@option("--exec-root", metavar="DIR", help="Sockets, pid files and mounts of the running ones [/var/run/orlop].")
@option("-H", "--host", "hosts", multiple=True, metavar="ADDRESS",
              help="Listen here: unix:///path or tcp://host:port; may be repeated [/var/run/docker.sock].")  # fmt: skip
@option("-G", "--group", metavar="NAME", help="The group that may use the unix sockets [docker].")
@option("--config", "--config-file", "config_file", metavar="FILE", help="Settings as JSON [/etc/orlop/daemon.json].")
@option("-s", "--storage-driver", metavar="NAME", help="overlay2 or vfs [the best that works here].")
@option("--runtime", metavar="NAME|PATH", help="crun, runc or a path [the best that works here].")
@option("-b", "--bridge", metavar="NAME", help="Name of the bridge [orlop0, or one of its own for another data root].")
@option("--bip", metavar="ADDRESS/BITS", help="Address of the bridge [the first free of Docker's ranges].")
@option("--volume-grace", "volume_grace_seconds", metavar="TIME", check=seconds,
              help="How long a removed volume can be restored, such as 24h; 0: not at all [24h].")  # fmt: skip
@option("--anonymous-volume-grace", "anonymous_volume_grace_seconds", metavar="TIME", check=seconds,
              help="The same for anonymous volumes [1h].")  # fmt: skip
@option("--volume-low-space", "volume_low_space_percent", check=_percent, metavar="PERCENT",
              help="Below so much free space, removed volumes are given up early [5].")  # fmt: skip
@option("--plugin-dir", "plugin_dirs", multiple=True, metavar="DIR",
              help="Look here for volume plugins; may be repeated [/run/docker/plugins and two more].")  # fmt: skip
@option("--cluster", metavar="ADDRESSES",
              help="Share volumes with other hosts, by their etcd: etcd://HOST:2379[,...] [alone].")  # fmt: skip
@option("--node", metavar="NAME", help="This host's name in the cluster.")
@option("--cluster-ca", metavar="FILE", help="Speak TLS with etcd, which this authority vouches for.")
@option("--cluster-cert", metavar="FILE", help="What this host shows etcd.")
@option("--cluster-key", metavar="FILE", help="The key of that certificate.")
@option("--cluster-user", metavar="NAME", help="The user of etcd.")
@option("--cluster-password-file", metavar="FILE", help="What holds that user's password.")
@option("--cluster-prefix", metavar="PREFIX", help="What all keys in etcd begin with [/orlop/].")
@option("--cluster-lease", "cluster_lease_seconds", check=seconds, metavar="TIME",
              help="How long this host may write to a volume without being heard of [20s].")  # fmt: skip
@option("--cluster-address", metavar="ADDRESS",
              help="Where other hosts reach this one when volumes move [as the way to etcd says].")  # fmt: skip
@option("-D", "--debug", is_flag=True, help="Log more.")
def command(app: App, /, config_file: str | None, **settings: Any) -> int:
    """Run the engine in the foreground, until SIGTERM. Containers keep running when it ends.

    What is set here goes before the configuration file.
    """
    if app.host and not settings["hosts"]:  # orlop --host ADDRESS daemon
        settings["hosts"] = (app.host,)
    given = {
        name: value for name, value in settings.items() if value is not None and value != () and value is not False
    }
    for name in ("data_root", "exec_root"):
        if name in given:
            given[name] = Path(given[name])
    from orlop.daemon.main import run

    try:
        return run(given, Path(config_file) if config_file else None)
    except Exception:
        traceback.print_exc()  # a log wants all of it, unlike a terminal
        raise
