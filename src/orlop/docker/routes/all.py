"""Every table of routes, in the order in which they are tried."""

from orlop.docker.routes import (
    absent,
    container_files,
    container_streams,
    containers,
    execs,
    images,
    networks,
    orlop,
    stats,
    system,
    volumes,
)

TABLES = (
    system.routes,
    container_streams.routes,
    container_files.routes,
    stats.routes,
    containers.routes,
    execs.routes,
    images.routes,
    volumes.routes,
    networks.routes,
    orlop.routes,
    absent.routes,
)
