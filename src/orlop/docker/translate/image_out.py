"""Images, from values to Docker's spelling."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orlop.docker.messages import ApiVersion
from orlop.docker.wire.times import NEVER, render_time
from orlop.engine.images import HistoryItem, ImageSummary
from orlop.model.image import Image, ImageConfig


def created_seconds(text: str) -> int:
    """Unix seconds of an image's RFC 3339 time; 0 where it has none."""
    try:
        return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return 0


def summarise_image(
    summary: ImageSummary, api: ApiVersion, containers: int = -1, shared_bytes: int = -1
) -> dict[str, Any]:
    image = summary.image
    shown: dict[str, Any] = {
        "Containers": containers,
        "Created": created_seconds(image.created),
        "Id": image.id,
        "Labels": dict(summary.config.labels) or None,
        "ParentId": image.parent,
        "RepoDigests": [],
        "RepoTags": list(summary.references),
        "SharedSize": shared_bytes,
        "Size": image.size_bytes,
    }
    if api < (1, 44):
        shown["VirtualSize"] = image.size_bytes
    if api >= (1, 51):
        shown["Containers"] = summary.containers
    if not summary.references and api < (1, 43):
        shown["RepoTags"] = ["<none>:<none>"]
        shown["RepoDigests"] = ["<none>@<none>"]
    return shown


class _File(msgspec.Struct):
    """What only the image's own file says."""

    architecture: str = ""
    variant: str = ""
    os: str = ""
    author: str = ""
    docker_version: str = ""


def inspect_image(
    image: Image,
    config: ImageConfig,
    references: Sequence[str],
    driver: str,
    layer: Mapping[str, str] | None,
    api: ApiVersion,
) -> dict[str, Any]:
    file = _read_file(image.raw_config)
    shown: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": list(references),
        "RepoDigests": [],
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": image.created or NEVER,
        "DockerVersion": file.docker_version,
        "Author": file.author,
        "Config": show_image_config(config, api),
        "Architecture": file.architecture,
        "Os": file.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Data": dict(layer) if layer else None, "Name": driver},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": render_time(image.loaded_at_ns)},
    }
    if file.variant:
        shown["Variant"] = file.variant
    if api < (1, 44):
        shown["VirtualSize"] = image.size_bytes
    if api < (1, 45):
        shown["Container"] = ""
        shown["ContainerConfig"] = show_image_config(ImageConfig(), api)
    if api >= (1, 52):
        _omit_empty(shown, ("Parent", "Comment", "DockerVersion", "Author"))
    return shown


def _read_file(raw_config: str) -> _File:
    try:
        return msgspec.json.decode(raw_config, type=_File, strict=False)
    except msgspec.MsgspecError:
        return _File()  # it was checked when it was loaded; what it leaves out or nulls is empty here


_OF_CONTAINERS = (  # fields of a container's configuration that an image never sets
    *("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr"),
    *("Tty", "OpenStdin", "StdinOnce", "Image"),
)
_OPTIONAL = ("Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir")


def _omit_empty(shown: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if not shown.get(name):
            shown.pop(name, None)


def show_image_config(config: ImageConfig, api: ApiVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env) or None,
        "Cmd": list(config.command) if config.command else None,
        "Image": "",
        "Volumes": {destination: {} for destination in config.volumes} or None,
        "WorkingDir": config.workdir,
        "Entrypoint": list(config.entrypoint) if config.entrypoint else None,
        "OnBuild": list(config.on_build) or None,
        "Labels": dict(config.labels) or None,
    }
    if config.exposed_ports:
        shown["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    if config.stop_signal:
        shown["StopSignal"] = config.stop_signal
    if config.shell:
        shown["Shell"] = list(config.shell)
    if config.healthcheck:
        shown["Healthcheck"] = msgspec.Raw(config.healthcheck.encode())
    if api >= (1, 50):
        _omit_empty(shown, _OF_CONTAINERS)
    if api >= (1, 52):
        _omit_empty(shown, _OPTIONAL)
    return shown


def show_history(item: HistoryItem) -> dict[str, Any]:
    return {
        "Comment": item.comment,
        "Created": created_seconds(item.created),
        "CreatedBy": item.created_by,
        "Id": item.id,
        "Size": item.size_bytes,
        "Tags": list(item.tags) or None,
    }
