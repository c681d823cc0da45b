"""What `docker ps --filter` understands."""

import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from orlop.errors import Malformed
from orlop.model.container import Container, ContainerState
from orlop.model.filters import Filters, matches_labels, parse_bool, require_known
from orlop.model.moments import parse_moment
from orlop.model.mount import MountOrigin

KNOWN = (
    "ancestor before exited expose health id is-task label name network publish since status volume until label!"
).split()

_STATES = {state.value for state in ContainerState}


def check_filters(filters: Filters) -> None:
    """Raises Malformed, in Docker's words, for a filter or a value that makes no sense."""
    require_known(filters, KNOWN)
    for value in filters.get("status", ()):
        if value not in _STATES:
            raise Malformed("", f"invalid filter 'status={value}'", f"Use one of {', '.join(sorted(_STATES))}")
    for value in filters.get("exited", ()):
        if not value.lstrip("-").isdigit():
            raise Malformed("", f"invalid filter 'exited={value}'", "Give an exit code")


def select(
    containers: Iterable[Container],
    filters: Filters,
    all_containers: bool,
    limit: int,
    find: Callable[[str], Container],
    image_family: Callable[[str], set[str]],
    volume_names: Callable[[str], Collection[str]],
) -> Sequence[Container]:
    """Newest first. `volume_names` are all names of the volume that a name means. A limit, or a filter on the state,
    includes those that do not run."""
    everything = all_containers or limit > 0 or bool({"status", "exited", "before", "since"} & set(filters))
    tests = [_test(key, values, find, image_family, volume_names) for key, values in filters.items()]
    found = [
        container
        for container in sorted(containers, key=lambda item: item.created_at_ns, reverse=True)
        if (everything or container.is_running or container.status.state is ContainerState.RESTARTING)
        and all(test(container) for test in tests)
    ]
    return found[:limit] if limit > 0 else found


_Test = Callable[[Container], bool]


def _test(
    key: str,
    values: tuple[str, ...],
    find: Callable[[str], Container],
    image_family: Callable[[str], set[str]],
    volume_names: Callable[[str], Collection[str]],
) -> _Test:
    match key:
        case "status":
            return lambda item: item.status.state.value in values
        case "id":
            return lambda item: any(_matches(item.id, value) for value in values)
        case "name":
            return lambda item: any(_matches_name(item.name, value) for value in values)
        case "label":
            return lambda item: matches_labels(item.config.labels, values)
        case "label!":
            return lambda item: not matches_labels(item.config.labels, values)
        case "ancestor":
            ids = {image_id for value in values for image_id in image_family(value)}
            return lambda item: item.image_id in ids or item.config.image in values
        case "before":
            before_ns = min(find(value).created_at_ns for value in values)
            return lambda item: item.created_at_ns < before_ns
        case "since":
            since_ns = max(find(value).created_at_ns for value in values)
            return lambda item: item.created_at_ns > since_ns
        case "until":
            until_ns = min(parse_moment(value, time.time_ns()) for value in values)
            return lambda item: item.created_at_ns < until_ns
        case "exited":
            codes = {int(value) for value in values}
            return lambda item: _has_exited(item) and item.status.exit_code in codes
        case "volume":
            wanted = {name for value in values for name in (value, *volume_names(value))}
            return lambda item: any(_uses(item, value) for value in wanted)
        case "network":
            return lambda item: any(_is_in(item, value) for value in values)
        case "is-task":
            wants_tasks = any(parse_bool(value, "is-task") for value in values)
            return lambda item: not wants_tasks
        case "health":
            return lambda item: "none" in values
        case _:  # expose, publish
            return lambda item: any(_exposes(item, value) for value in values)


def _matches(text: str, pattern: str) -> bool:
    """Docker's rule: equal, or found by the value as a regular expression; a broken one matches only literally."""
    if text == pattern:
        return True
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _matches_name(name: str, pattern: str) -> bool:
    return _matches(name, pattern) or _matches(f"/{name}", pattern)


def _has_exited(container: Container) -> bool:
    return container.status.finished_at_ns > 0 and not container.is_running


def _uses(container: Container, value: str) -> bool:
    """By a mount's name, or its source where it has none, or its destination; --tmpfs is not among the mounts."""
    return any(
        value in (mount.volume or mount.image or mount.source, mount.destination)
        for mount in container.mounts
        if mount.origin is not MountOrigin.TMPFS
    )


def _is_in(container: Container, value: str) -> bool:
    mode = container.host.network_mode
    name = "bridge" if mode == "default" else mode
    network_id = container.network.network_id if container.network else ""
    return value == name or bool(network_id and network_id.startswith(value))


def _exposes(container: Container, value: str) -> bool:
    port = value if "/" in value else f"{value}/tcp"
    return port in container.config.exposed_ports
