"""Networks: bridge, host, none, and who is in them.

The journal keeps a network's id and subnet under its name; who is in it stands with each container.
"""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orlop.drivers.networks.driver import NetworkDriver
from orlop.engine.events import Events
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.model.container import Container
from orlop.model.filters import Filters, matches_labels, require_known
from orlop.model.network import Network, NetworkAttachment, is_loopback_only
from orlop.store.journal import Journal, Put

log = logging.getLogger(__name__)

DEFAULT_NETWORK = "bridge"

_KNOWN_FILTERS = ("driver", "id", "label", "name", "scope", "type", "dangling")
_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")  # what systemd-resolved itself asks


class Networks:
    """Use cases of networks. Thread-safe."""

    def __init__(self, drivers: Mapping[str, NetworkDriver], journal: Journal, events: Events) -> None:
        """Opens every driver; each network has the id it had before."""
        self._drivers = dict(drivers)
        self._journal = journal
        self._events = events
        self._lock = threading.Lock()
        self._remembered = journal.load("networks", Network)
        for name, driver in self._drivers.items():
            fresh = Network(name, secrets.token_hex(32), driver.name, time.time_ns())
            driver.open(self._remembered.get(name, fresh))
            self._remember(driver)

    def restore(self, running: Sequence[tuple[str, NetworkAttachment]]) -> None:
        """At start: these containers (id, attachment) still run; what else is found of ours is removed. A network that
        cannot be put in order is told of and stops nobody."""
        for name, driver in self._drivers.items():
            try:
                driver.restore([(each, attachment) for each, attachment in running if attachment.network == name])
            except (OrlopError, OSError) as error:
                log.error("network %s after the restart: %s", name, error)
            self._remember(driver)

    def list_networks(self, filters: Filters) -> Sequence[Network]:
        """By name. `filters` as of `docker network ls`."""
        require_known(filters, _KNOWN_FILTERS)
        networks = sorted((driver.network() for driver in self._drivers.values()), key=lambda each: each.name)
        return [network for network in networks if _matches(network, filters)]

    def get(self, reference: str) -> Network:
        """By name, id or unique id prefix."""
        networks = [driver.network() for driver in self._drivers.values()]
        exact = [each for each in networks if reference in (each.id, each.name)]
        found = exact or [each for each in networks if reference and each.id.startswith(reference)]
        if not found:
            raise NotFound("", f"network {reference} not found", _known(networks))
        if len(found) > 1:
            raise Conflict("", f"network {reference} is ambiguous: {len(found)} ids begin with it", "Use more digits")
        return found[0]

    def members(self, reference: str) -> Sequence[str]:
        """Ids of the containers that are in it now."""
        return self._drivers[self.get(reference).name].list_attached()

    def join(self, network: str, container_id: str, mac_address: str = "") -> NetworkAttachment:
        """Joining twice gives the same answer. `network` may be "default"."""
        found = self.get(DEFAULT_NETWORK if network in ("default", "") else network)
        driver = self._drivers[found.name]
        attachment = driver.join(container_id, mac_address)
        self._remember(driver)
        self._publish("connect", found, container_id)
        return attachment

    def share(self, other: Container) -> NetworkAttachment:
        """The place of a container with network mode `container:<id>`: that of the other one, which must run. There
        is nothing to leave. Raises Conflict in Docker's words."""
        if not other.is_running:
            raise Conflict("", f"cannot join network of a non running container: {other.id}")
        sandbox = other.network.sandbox_path if other.network else ""
        if not sandbox:
            sandbox = f"/proc/{other.status.pid}/ns/net"
        return NetworkAttachment(network=f"container:{other.id}", sandbox_path=sandbox)

    def leave(self, attachment: NetworkAttachment, container_id: str) -> None:
        """Leaving twice is success."""
        driver = self._drivers.get(attachment.network)
        if driver is None:
            return
        was_in = container_id in driver.list_attached()
        driver.leave(container_id)
        if was_in:
            self._publish("disconnect", driver.network(), container_id)

    def close(self) -> None:
        """The daemon stops; running containers keep their network."""
        for name, driver in self._drivers.items():
            try:
                driver.close()
            except (OrlopError, OSError) as error:
                log.error("closing network %s: %s", name, error)

    def _remember(self, driver: NetworkDriver) -> None:
        network = driver.network()
        with self._lock:
            if self._remembered.get(network.name) == network:
                return
            self._remembered[network.name] = network
        self._journal.commit(Put("networks", network.name, network))

    def _publish(self, action: str, network: Network, container_id: str) -> None:
        attributes = {"container": container_id, "name": network.name, "type": network.driver}
        self._events.publish("network", action, network.id, attributes)


def read_host_hosts() -> str:
    """The host's /etc/hosts, for containers that share its network."""
    return _read(Path("/etc/hosts"))


def read_host_resolv_conf(shares_host_network: bool = False) -> str:
    """The host's resolv.conf: for containers with a network of their own that of systemd-resolved, where the
    usual one only points at systemd-resolved."""
    text = _read(_RESOLV_CONF)
    if not shares_host_network and is_loopback_only(text):
        return _read(_RESOLVED_CONF) or text
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _matches(network: Network, filters: Filters) -> bool:
    def has(key: str, test: bool) -> bool:
        return key not in filters or test

    return (
        has("name", any(word in network.name for word in filters.get("name", ())))
        and has("id", any(network.id.startswith(word) for word in filters.get("id", ())))
        and has("driver", network.driver in filters.get("driver", ()))
        and has("scope", "local" in filters.get("scope", ()))
        and has("type", "builtin" in filters.get("type", ()))
        and has("dangling", not any(word in ("1", "true", "True") for word in filters.get("dangling", ())))
        and matches_labels({}, filters.get("label", ()))
    )


def _known(networks: Sequence[Network]) -> str:
    return "There are: " + ", ".join(sorted(network.name for network in networks))
