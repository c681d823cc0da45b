"""Volumes, from values to Docker's spelling."""

from orlop.docker.wire import volume as wire
from orlop.docker.wire.times import render_seconds
from orlop.model.volume import Volume, hide_secrets


def show_volume(volume: Volume, usage: wire.UsageData | None = None) -> wire.Volume:
    return wire.Volume(
        CreatedAt=render_seconds(volume.created_at_ns),
        Driver=volume.driver,
        Labels=None if volume.labels is None else dict(volume.labels),
        Mountpoint=volume.mountpoint,
        Name=volume.name,
        Options=hide_secrets(volume.options) if volume.options else None,
        Scope=volume.scope,
        UsageData=usage,
    )
