"""This host's place in a cluster, from the daemon's settings. Imported only by a daemon that has one."""

from pathlib import Path

from orlop.cluster.address import Credentials, parse_endpoints
from orlop.cluster.joined import JoinedCluster
from orlop.cluster.keys import DEFAULT_PREFIX, Keys, check_node, check_prefix
from orlop.cluster.term import Term
from orlop.daemon.config import Settings
from orlop.errors import Malformed


def join(settings: Settings, daemon_id: str, version: str, copy: Path, leashes: Path) -> JoinedCluster:
    """A member when this returns, or on its own with the copy of the last time. Raises Malformed, Conflict where
    another daemon has that name, Forbidden."""
    endpoints = parse_endpoints(settings.cluster)
    keys = Keys(check_prefix(settings.cluster_prefix or DEFAULT_PREFIX))
    term = Term(settings.cluster_lease_seconds)
    try:
        joined = JoinedCluster(
            endpoints,
            _credentials(settings),
            keys,
            check_node(settings.node),
            daemon_id,
            version,
            copy,
            leashes,
            term,
            settings.cluster_address,
        )
    except OSError as error:  # a file of TLS
        raise Malformed("--cluster", f"its TLS cannot be set up: {error}", "Check the files it is given") from error
    joined.start()
    return joined


def _credentials(settings: Settings) -> Credentials:
    if settings.cluster_key and not settings.cluster_cert:
        raise Malformed("--cluster-key", "there is no certificate for it", "Give it: --cluster-cert FILE")
    if bool(settings.cluster_user) != bool(settings.cluster_password_file):
        raise Malformed("--cluster-user", "a user comes with a password", "Give both, or none: --cluster-password-file")
    return Credentials(
        _file(settings.cluster_ca),
        _file(settings.cluster_cert),
        _file(settings.cluster_key),
        settings.cluster_user,
        _password(settings.cluster_password_file),
    )


def _file(path: str) -> Path | None:
    return Path(path) if path else None


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"--cluster-password-file {path}", f"it cannot be read: {error}") from error
