"""The daemon's settings: command line over configuration file over defaults.

The file is JSON with the option's names ("data-root", "hosts", ...), by default /etc/orlop/daemon.json, which may be
missing; a file named on the command line must exist. What both set is taken from the command line.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orlop.errors import Malformed, NotFound
from orlop.model.network import parse_gateway
from orlop.model.value import dataclass

DEFAULT_CONFIG_FILE = Path("/etc/orlop/daemon.json")
DEFAULT_DATA_ROOT = Path("/var/lib/docker")
DEFAULT_EXEC_ROOT = Path("/var/run/orlop")
DEFAULT_HOST = "unix:///var/run/docker.sock"
DEFAULT_BRIDGE = "orlop0"

_GRACE_SECONDS = 24 * 3600
_ANONYMOUS_GRACE_SECONDS = 3600
_SHORTEST_LEASE_SECONDS, _LONGEST_LEASE_SECONDS = 4, 600


@dataclass(frozen=True, slots=True)
class Settings:
    data_root: Path = DEFAULT_DATA_ROOT
    exec_root: Path = DEFAULT_EXEC_ROOT
    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    group: str = "docker"  # owner group of the unix sockets, if the host has it
    storage_driver: str = ""  # "" = the best that works here
    runtime: str = ""  # crun, runc or a path; "" = the best that works here
    bridge: str = ""  # "" = orlop0, or a name of its own for another data root
    bip: str = ""  # address and prefix length of the bridge; "" = the first free of Docker's ranges
    volume_grace_seconds: int = _GRACE_SECONDS
    anonymous_volume_grace_seconds: int = _ANONYMOUS_GRACE_SECONDS
    volume_low_space_percent: int = 5  # below so much free space retired volumes are given up early
    plugin_dirs: tuple[str, ...] = ()  # where volume plugins of others are looked for; () = Docker's places
    cluster: str = ""  # etcd://HOST:2379[,...]; "" = this host is alone
    node: str = ""  # this host's name in the cluster
    cluster_ca: str = ""  # files for TLS with etcd
    cluster_cert: str = ""
    cluster_key: str = ""
    cluster_user: str = ""
    cluster_password_file: str = ""
    cluster_prefix: str = ""  # of all keys; "" = /orlop/
    cluster_lease_seconds: int = 20  # how long write access lasts without being renewed
    cluster_address: str = ""  # where other nodes reach this one; "" = as the way to etcd says
    debug: bool = False

    @property
    def bridge_name(self) -> str:
        """Every daemon of a host has a bridge of its own: names end at 15 characters."""
        if self.bridge:
            return self.bridge
        if self.data_root == DEFAULT_DATA_ROOT:
            return DEFAULT_BRIDGE
        return "orlop-" + hashlib.sha256(str(self.data_root).encode()).hexdigest()[:8]


def load_settings(given: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """`given` holds the options of the command line by field name; None and () mean not given. Raises Malformed,
    NotFound."""
    values = _from_file(config_file)
    values.update({key: value for key, value in given.items() if value not in (None, (), "")})
    return _checked(dataclasses.replace(Settings(), **values))


_KINDS: dict[str, type] = {
    "data_root": Path,
    "exec_root": Path,
    "hosts": tuple,
    "group": str,
    "storage_driver": str,
    "runtime": str,
    "bridge": str,
    "bip": str,
    "volume_grace_seconds": int,
    "anonymous_volume_grace_seconds": int,
    "volume_low_space_percent": int,
    "plugin_dirs": tuple,
    "cluster": str,
    "node": str,
    "cluster_ca": str,
    "cluster_cert": str,
    "cluster_key": str,
    "cluster_user": str,
    "cluster_password_file": str,
    "cluster_prefix": str,
    "cluster_lease_seconds": int,
    "cluster_address": str,
    "debug": bool,
}


def _from_file(config_file: Path | None) -> dict[str, Any]:
    path = config_file or DEFAULT_CONFIG_FILE
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        if config_file is not None:
            raise NotFound(f"configuration file {path}", "it does not exist", "Check --config") from error
        return {}
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Malformed(f"configuration file {path}", f"it is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Malformed(f"configuration file {path}", "it must be a JSON object of settings")
    return {_field_of(key, path): _value_of(key, value, path) for key, value in document.items()}


def _field_of(key: str, path: Path) -> str:
    name = key.replace("-", "_")
    if name not in _KINDS:
        known = ", ".join(sorted(kind.replace("_", "-") for kind in _KINDS))
        raise Malformed(f"configuration file {path}", f'unknown setting "{key}"', f"Known settings: {known}")
    return name


def _value_of(key: str, value: Any, path: Path) -> Any:
    kind = _KINDS[key.replace("-", "_")]
    wanted: type = str if kind is Path else list if kind is tuple else kind
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise Malformed(f"configuration file {path}", f'"{key}" must be a {wanted.__name__}, not {value!r}')
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise Malformed(f"configuration file {path}", f'"{key}" must be a list of texts')
        return tuple(value)
    return kind(value)


def _checked(settings: Settings) -> Settings:
    for name in ("data_root", "exec_root"):
        path: Path = getattr(settings, name)
        if not path.is_absolute():
            raise Malformed(f"--{name.replace('_', '-')} {path}", "it must be an absolute path")
    for directory in settings.plugin_dirs:
        if not Path(directory).is_absolute():
            raise Malformed(f"--plugin-dir {directory}", "it must be an absolute path")
    for host in settings.hosts:
        if "://" not in host:
            raise Malformed(f"--host {host}", "it has no scheme", f"Did you mean unix://{host}?")
    if settings.bip:
        try:
            parse_gateway(settings.bip)
        except Malformed as error:
            raise Malformed(f"--bip {settings.bip}", error.why, error.hint) from error
    if settings.volume_grace_seconds < 0 or settings.anonymous_volume_grace_seconds < 0:
        raise Malformed("volume grace", "it cannot be negative", "0 means that removed volumes are purged at once")
    if settings.cluster and not settings.node:
        raise Malformed("--cluster", "this host needs a name in the cluster", "For example: --node $(hostname)")
    if settings.node and not settings.cluster:
        raise Malformed(f"--node {settings.node}", "there is no cluster", "Name its etcd: --cluster etcd://HOST:2379")
    if not _SHORTEST_LEASE_SECONDS <= settings.cluster_lease_seconds <= _LONGEST_LEASE_SECONDS:
        why = f"it is between {_SHORTEST_LEASE_SECONDS} and {_LONGEST_LEASE_SECONDS} seconds"
        raise Malformed(f"--cluster-lease {settings.cluster_lease_seconds}", why, "The usual: 20")
    return settings
