"""What there is to know about a volume, as `/orlop/v1` and `Status` of an inspect spell it."""

import functools
import os
from collections.abc import Sequence
from typing import Any

from orlop.docker.translate.volume_out import show_volume
from orlop.docker.wire import volume as wire
from orlop.docker.wire.times import NEVER, render_time
from orlop.engine.tree_usage import TreeUsage
from orlop.engine.volume_previews import Departure
from orlop.engine.volume_reports import VolumeReport
from orlop.model.volume import VolumeUser

_time = functools.lru_cache(maxsize=10_000)(render_time)  # the same few of each volume, at every inspect


def inspect_volume(report: VolumeReport) -> wire.Volume:
    """With what listings leave out."""
    shown = show_volume(report.volume)
    shown.Status = _status(report)
    return shown


def _status(report: VolumeReport) -> dict[str, Any]:
    """What there is nothing to say about is left out; health and users always have something to say."""
    volume, facts, limits = report.volume, report.facts, report.limits
    status: dict[str, Any] = {**report.told, "Health": volume.problem or "ok", "Users": _users(report.users)}
    if limits.size_bytes or limits.inodes:
        found = {"SizeBytes": limits.size_bytes, "Inodes": limits.inodes, "Mechanism": limits.mechanism}
        status["Limit"] = {name: value for name, value in found.items() if value}
    if facts.size_bytes >= 0:
        status["Usage"] = {
            "SizeBytes": facts.size_bytes,
            "DiskBytes": facts.disk_bytes,
            "Entries": facts.entries,
            "LastWrite": _time(facts.last_write_ns),
            "MeasuredAt": _time(facts.measured_at_ns),
        }
    if report.pending is not None:
        status["Pending"] = {"Files": report.pending.files, "SizeBytes": report.pending.size_bytes}
        if report.pending.why:
            status["Pending"]["Why"] = report.pending.why
    if report.remark:
        status["Cluster"] = report.remark
    if volume.aliases:
        status["Aliases"] = list(volume.aliases)
    if volume.is_protected:
        status["Protected"] = True
    if facts.last_mounted_at_ns:
        status["LastMount"] = _time(facts.last_mounted_at_ns)
        status["LastContainer"] = facts.last_container
    return status


def _users(users: Sequence[VolumeUser]) -> list[dict[str, Any]]:
    return [
        {
            "Container": user.container,
            "ID": user.container_id,
            "Destination": user.destination,
            "RW": user.writable,
            "Running": user.is_running,
        }
        for user in users
    ]


def show_report(report: VolumeReport) -> dict[str, Any]:
    """As a listing shows it."""
    volume = report.volume
    return {
        "Name": volume.name,
        "Driver": volume.driver,
        "CreatedAt": _time(volume.created_at_ns),
        "Mountpoint": volume.mountpoint,
        "Labels": None if volume.labels is None else dict(volume.labels),
        "Aliases": list(volume.aliases),
        "Health": volume.problem or "ok",
        "Protected": volume.is_protected,
        "Usage": show_usage(report),
    }


def show_usage(report: VolumeReport) -> dict[str, Any]:
    """-1 is not known, the year 1 is never."""
    facts, limits = report.facts, report.limits
    return {
        "SizeBytes": facts.size_bytes,
        "DiskBytes": facts.disk_bytes,
        "Entries": facts.entries,
        "LimitBytes": limits.size_bytes,
        "LimitInodes": limits.inodes,
        "LastWrite": _time(facts.last_write_ns),
        "LastMount": _time(facts.last_mounted_at_ns),
        "LastUnmount": _time(facts.last_unmounted_at_ns),
        "LastContainer": facts.last_container,
        "MeasuredAt": _time(facts.measured_at_ns),
        "Current": report.is_current,
        "Measuring": report.is_measuring,
        "Users": _users(report.users),
    }


def show_departure(departure: Departure) -> dict[str, Any]:
    report = departure.report
    return {
        "Name": departure.name,
        "Goes": not departure.stays_because,
        "StaysBecause": departure.stays_because,
        "RestorableUntil": _time(departure.purge_at_ns) if departure.purge_at_ns else NEVER,
        "Usage": show_usage(report) if report else None,
    }


def show_tree(name: str, path: str, found: Sequence[TreeUsage], left_out: int) -> dict[str, Any]:
    """The first is the whole."""
    return {
        "Name": name,
        "Path": path,
        **_entry(found[0]),
        "Below": [{"Path": _text(each.path), **_entry(each)} for each in found[1:]],
        "LeftOut": left_out,
    }


def _text(path: str) -> str:
    """Names on disk are bytes; JSON takes only text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _entry(usage: TreeUsage) -> dict[str, Any]:
    return {
        "SizeBytes": usage.size_bytes,
        "DiskBytes": usage.disk_bytes,
        "Entries": usage.entries,
        "Directory": usage.is_directory,
        "LastWrite": _time(usage.last_write_ns),
    }
