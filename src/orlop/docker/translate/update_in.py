"""An update request: another restart policy at any time, other limits while the container does not run."""

import dataclasses

import msgspec

from orlop.docker.translate.container_in import ClientView, resources, restart_policy
from orlop.docker.wire import container as wire
from orlop.errors import Conflict, Unsupported
from orlop.model.container import Container

LIMITS = (
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NanoCpus",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "CpusetMems",
    "PidsLimit",
)
# Clients send every field of the request; these are about what Orlop does not limit anyway.
_REFUSED = ("BlkioWeight", "KernelMemory", "CpuRealtimePeriod", "CpuRealtimeRuntime")


def apply_update(container: Container, request: wire.HostConfig) -> Container:
    """Raises Unsupported, Conflict, Malformed; nothing is changed then."""
    for name in _REFUSED:
        if getattr(request, name):
            raise Unsupported(f"update {container.name}", f"{name} is not supported", "Leave it out")
    view = msgspec.json.decode(container.client_view, type=ClientView)
    shown, host = view.HostConfig, container.host
    if request.RestartPolicy.Name:
        request.AutoRemove = host.auto_remove
        policy = restart_policy(request)
        host = dataclasses.replace(host, restart_policy=policy)
        shown.RestartPolicy = wire.RestartPolicy(policy.name, policy.maximum_retry_count)
    given = [name for name in LIMITS if getattr(request, name)]
    if given and container.is_running:
        raise Conflict(
            f"Cannot update container {container.id}",
            f"{given[0]} of a running container cannot be changed yet",
            f"Stop it first: docker stop {container.name}",
        )
    for name in given:
        setattr(shown, name, getattr(request, name))
    if given:
        host = dataclasses.replace(host, resources=resources(shown))
    return dataclasses.replace(container, host=host, client_view=msgspec.json.encode(view).decode())
