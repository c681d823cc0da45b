"""Mounts: one container's use of a volume, a host path or memory.

Two values, on purpose: a `MountRequest` is what the user asked for; a `Mount` is what the container got, resolved
at create and remembered with it. Destinations are cleaned absolute paths inside the container.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from orlop.model.value import dataclass


class MountKind(StrEnum):
    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"
    IMAGE = "image"


class IdMapping(StrEnum):
    """How owners on disk are shown in the container."""

    NONE = ""
    MATCH_USER = "match-user"  # the owner of the mount's top directory is shown as the container's user, and back


class MountOrigin(StrEnum):
    """Which input of the request a mount came from; decides precedence, and what `inspect` says of it."""

    BINDS = "binds"  # -v src:dst[:mode]
    MOUNTS = "mounts"  # --mount
    CONFIG = "config"  # -v /dst and VOLUME of the image
    VOLUMES_FROM = "volumes-from"
    TMPFS = "tmpfs"  # --tmpfs; `inspect` does not list these among the mounts


@dataclass(frozen=True, slots=True)
class MountRequest:
    kind: MountKind
    destination: str
    source: str = ""  # volume name ("" = anonymous), host path, or image; "" for tmpfs
    anonymous: bool = False  # inherited from a request that named no volume; `source` is the name it got
    read_only: bool = False
    origin: MountOrigin = MountOrigin.MOUNTS
    mode: str = ""  # the mode words of -v, as given
    propagation: str = ""
    no_copy: bool = False
    create_source: bool = False  # make a missing bind source a directory (what -v does)
    non_recursive: bool = False
    read_only_non_recursive: bool = False  # what is mounted below stays writable
    read_only_force_recursive: bool = False  # fail rather than leave what is mounted below writable
    id_mapping: IdMapping = IdMapping.NONE
    id_mapping_user: str = ""  # another user than the container's: name, uid or uid:gid
    image_id: str = ""  # of an inherited image mount: the name may mean another image by now
    subpath: str = ""
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    kind: MountKind
    destination: str
    source: str  # host path; "" for tmpfs
    volume: str = ""  # volume name, only for kind VOLUME
    driver: str = ""
    read_only: bool = False
    anonymous: bool = False  # the request named no volume: `rm -v` may retire it
    origin: MountOrigin = MountOrigin.MOUNTS
    mode: str = ""
    propagation: str = ""
    non_recursive: bool = False
    copy_up: bool = False
    create_source: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    id_mapping: IdMapping = IdMapping.NONE
    id_mapping_user: str = ""
    image: str = ""  # as it was asked for, only for kind IMAGE
    image_id: str = ""
    subpath: str = ""
    wait_seconds: float = 0.0  # how long write access that another host has is waited for
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: tuple[str, ...] = ()
