"""Volumes, from values to Docker's spelling."""

from orlop.docker.wire import volume as wire
from orlop.docker.wire.times import render_seconds
from orlop.model.volume import Volume, hide_secrets


def inspect_volume(volume: Volume) -> wire.Volume:
    """With what is wrong with it and what else it is called, which listings leave out."""
    shown = show_volume(volume)
    status: dict[str, object] = {}
    if volume.problem:
        status["problem"] = volume.problem
    if volume.aliases:
        status["aliases"] = list(volume.aliases)
    shown.Status = status or None
    return shown


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
