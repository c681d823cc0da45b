"""Volumes as Docker spells them."""

# Fields are named like their types; without this a default would hide the type from the annotation beside it.
from __future__ import annotations

import msgspec


class UsageData(msgspec.Struct):
    RefCount: int
    Size: int


class Volume(msgspec.Struct, omit_defaults=True):
    CreatedAt: str
    Driver: str
    Labels: dict[str, str] | None
    Mountpoint: str
    Name: str
    Options: dict[str, str] | None
    Scope: str
    Status: dict[str, object] | None = None
    UsageData: UsageData | None = None


class VolumeCreate(msgspec.Struct):
    Name: str = ""
    Driver: str = ""
    DriverOpts: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    ClusterVolumeSpec: dict[str, object] | None = None


class VolumeUpdate(msgspec.Struct):
    """A map left out stays as it is. `Spec` is Docker's, for volumes of a cluster."""

    Labels: dict[str, str] | None = None
    DriverOpts: dict[str, str] | None = None
    Spec: dict[str, object] | None = None


class VolumeList(msgspec.Struct):
    Volumes: list[Volume]
    Warnings: list[str] | None


class VolumesPruned(msgspec.Struct):
    VolumesDeleted: list[str]
    SpaceReclaimed: int
