"""The files a container gets from the daemon: hostname, hosts, resolv.conf, in <data-root>/containers/<id>/."""

import socket
from collections.abc import Mapping
from pathlib import Path

from orlop.engine.networks import read_host_hosts, read_host_resolv_conf
from orlop.model.container import Container
from orlop.model.network import NetworkAttachment, render_hosts, render_resolv_conf
from orlop.planning.bundles import GENERATED_FILES


def container_hostname(container: Container) -> str:
    """Its own, or the host's where it shares the host's network or host name."""
    if container.config.hostname:
        return container.config.hostname
    shares = "host" in (container.host.uts_mode, container.host.network_mode)
    return socket.gethostname() if shares else container.id[:12]


def generated_files(directory: Path) -> Mapping[str, Path]:
    """By their place in the container; only those that are there (none before the first start)."""
    return {f"/etc/{name}": directory / name for name in GENERATED_FILES if (directory / name).exists()}


def write_generated_files(directory: Path, container: Container, network: NetworkAttachment | None) -> None:
    """Written anew at each start: the address may be another one. No fsync: they mean nothing after a crash."""
    host = container.host
    hostname = container_hostname(container)
    shares = host.network_mode == "host"
    resolv_conf = render_resolv_conf(
        read_host_resolv_conf(shares), host.dns, host.dns_search, host.dns_options, shares_host_network=shares
    )
    hosts = render_hosts(
        hostname,
        container.config.domainname,
        network.address if network else "",
        host.extra_hosts,
        network.gateway if network else "",
        read_host_hosts() if shares else None,
    )
    for name, text in (("hostname", hostname + "\n"), ("hosts", hosts), ("resolv.conf", resolv_conf)):
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)
