"""What a container uses, to Docker's spelling of `stats`."""

from typing import Any

from orlop.docker.messages import ApiVersion
from orlop.docker.wire.times import render_time
from orlop.engine.usage import ContainerUsage
from orlop.model.container import Container


def show_usage(container: Container, now: ContainerUsage, before: ContainerUsage, api: ApiVersion) -> dict[str, Any]:
    """`before` is the sample that shares are reckoned against; all zero for the first one."""
    shown: dict[str, Any] = {
        "read": render_time(now.at_ns),
        "preread": render_time(before.at_ns),
        "pids_stats": {"current": now.processes} if now.processes else {},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": each.major, "minor": each.minor, "op": each.operation, "value": each.count}
                for each in now.devices
            ],
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _show_cpu(now),
        "precpu_stats": _show_cpu(before),
        "memory_stats": {
            "usage": now.memory_bytes,
            "limit": now.memory_limit_bytes,
            "stats": dict(now.memory_details),
        }
        if now.memory_bytes
        else {},
        "name": "/" + container.name,
        "id": container.id,
    }
    if api >= (1, 52):
        shown["os_type"] = "linux"
    if now.networks:
        shown["networks"] = {
            name: {
                "rx_bytes": each.received_bytes,
                "rx_packets": each.received_packets,
                "rx_errors": each.received_errors,
                "rx_dropped": each.received_dropped,
                "tx_bytes": each.sent_bytes,
                "tx_packets": each.sent_packets,
                "tx_errors": each.sent_errors,
                "tx_dropped": each.sent_dropped,
            }
            for name, each in now.networks.items()
        }
    return shown


def _show_cpu(usage: ContainerUsage) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": usage.cpu_ns,
            "usage_in_kernelmode": usage.cpu_kernel_ns,
            "usage_in_usermode": usage.cpu_user_ns,
        },
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    if usage.system_cpu_ns:
        shown |= {"system_cpu_usage": usage.system_cpu_ns, "online_cpus": usage.cpus}
    return shown
