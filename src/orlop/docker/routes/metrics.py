"""/orlop/metrics: Prometheus' text format, from what is in memory."""

from collections.abc import Mapping, Sequence

from orlop import __version__
from orlop.docker.messages import Reply, Request, Response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.engine.volume_reports import VolumeReport

routes = Routes()

MOST_VOLUMES = 500  # each costs whoever collects this some series of its own


@routes.get("/orlop/metrics")
async def metrics(service: Service, request: Request) -> Reply:
    return await service.quick(_metrics, service)


def _metrics(service: Service) -> Reply:
    engine = service.engine
    info = engine.system.info()
    volumes, _ = engine.volumes.list_volumes({})
    lines: list[str] = []
    _gauge(
        lines,
        "orlop_containers",
        "Containers by state.",
        {'state="running"': info.running, 'state="paused"': info.paused, 'state="stopped"': info.stopped},
    )
    _gauge(lines, "orlop_images", "Images.", {"": info.images})
    _gauge(lines, "orlop_volumes", "Volumes.", {"": len(volumes)})
    retired = engine.volumes.list_retired()
    _gauge(lines, "orlop_volumes_retired", "Removed volumes that can be restored.", {"": len(retired)})
    _volumes(lines, [engine.volume_reports.of(volume) for volume in volumes])
    if engine.volumes.watch is not None:
        states = {f'state="{state}"': count for state, count in engine.volumes.watch.count_by_state().items()}
        _gauge(lines, "orlop_volumes_unwell", "Volumes in use whose mount is not well.", states)
    unfinished = {"": len(info.unfinished)}
    _gauge(lines, "orlop_operations_unfinished", "Clean-ups that failed and will be tried again.", unfinished)
    _gauge(lines, "orlop_events_listeners", "Clients that listen to events.", {"": service.events_listening})
    _gauge(lines, "orlop_info", "About the daemon.", {f'version="{__version__}"': 1})
    return Response(200, "\n".join([*lines, ""]).encode(), "text/plain; version=0.0.4; charset=utf-8")


def _volumes(lines: list[str], reports: Sequence[VolumeReport]) -> None:
    """Each volume by name: the biggest of them, where there are very many."""
    shown = sorted(reports, key=lambda report: -report.facts.size_bytes)[:MOST_VOLUMES]
    named = [(f'volume="{_escaped(report.volume.name)}"', report) for report in shown]
    size = {name: report.facts.size_bytes for name, report in named if report.facts.size_bytes >= 0}
    _gauge(lines, "orlop_volume_size_bytes", "What a volume held when it was last measured.", size)
    measured = {name: report.facts.measured_at_ns // 10**9 for name, report in named if name in size}
    _gauge(lines, "orlop_volume_measured_timestamp_seconds", "When that was.", measured)
    limits = {name: report.limits.size_bytes for name, report in named if report.limits.size_bytes}
    _gauge(lines, "orlop_volume_limit_bytes", "What a volume may hold at most.", limits)
    users = {name: len({user.container_id for user in report.users}) for name, report in named}
    _gauge(lines, "orlop_volume_users", "Containers that hold a volume.", users)
    broken = {name: 0 if report.volume.problem else 1 for name, report in named}
    _gauge(lines, "orlop_volume_healthy", "0: something is wrong with the volume.", broken)
    _gauge(lines, "orlop_volumes_left_out", "Volumes without series of their own.", {"": len(reports) - len(shown)})


def _gauge(lines: list[str], name: str, what: str, values: Mapping[str, int]) -> None:
    lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
    lines += [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values.items()]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
