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
    system,
    volumes,
)

TABLES = (
    system.routes,
    container_streams.routes,
    container_files.routes,
    containers.routes,
    execs.routes,
    images.routes,
    volumes.routes,
    networks.routes,
    orlop.routes,
    absent.routes,
)
