"""Every table of routes, in the order in which they are tried."""

from orlop.docker.routes import (
    absent,
    container_files,
    container_streams,
    containers,
    disk_usage,
    execs,
    images,
    networks,
    orlop,
    retired,
    stats,
    system,
    volume_changes,
    volume_reports,
    volumes,
)

TABLES = (
    system.routes,
    disk_usage.routes,
    container_streams.routes,
    container_files.routes,
    stats.routes,
    containers.routes,
    execs.routes,
    images.routes,
    volumes.routes,
    networks.routes,
    orlop.routes,
    retired.routes,
    volume_changes.routes,
    volume_reports.routes,
    absent.routes,
)
