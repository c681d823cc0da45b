"""The configuration file of a managed plugin (config.json): JSON as Docker spells it, to and from values.

Field names match whatever their case, as Docker's own reader has it: there are plugins that count on it.
"""

import json
from collections.abc import Sequence
from typing import Any

from orlop.errors import Malformed
from orlop.model.image_config import Fields, parse_json
from orlop.model.plugin import PluginArguments, PluginConfig, PluginDevice, PluginMount, PluginVariable

_PROTOCOLS = ("", "moby.plugins.http/v1")
_CONFIG = "plugin config.json"


def parse_plugin_config(raw: str | bytes) -> PluginConfig:
    """Raises Malformed naming the field."""
    root = Fields(_lowered(parse_json(raw, _CONFIG)), _CONFIG)
    interface, linux, user = root.object("interface"), root.object("linux"), root.object("user")
    config = PluginConfig(
        types=interface.texts("types") or (),
        socket=interface.text("socket"),
        protocol=interface.text("protocolscheme"),
        description=root.text("description"),
        documentation=root.text("documentation"),
        made_by=root.text("dockerversion"),
        entrypoint=root.texts("entrypoint") or (),
        workdir=root.text("workdir"),
        network=root.object("network").text("type"),
        mounts=tuple(_mount(each) for each in root.objects("mounts")),
        propagated_mount=root.text("propagatedmount"),
        variables=tuple(_variable(each) for each in root.objects("env")),
        arguments=_arguments(root.object("args")),
        capabilities=linux.texts("capabilities") or (),
        devices=tuple(_device(each) for each in linux.objects("devices")),
        all_devices=linux.flag("allowalldevices"),
        host_ipc=root.flag("ipchost"),
        host_pid=root.flag("pidhost"),
        uid=user.number("uid"),
        gid=user.number("gid"),
        diff_ids=root.object("rootfs").texts("diff_ids") or (),
    )
    _check(config)
    return config


def render_plugin_config(raw: str | bytes, diff_ids: Sequence[str], made_by: str) -> bytes:
    """What somebody wrote by hand, with what only the packer knows."""
    document = parse_json(raw, _CONFIG)
    if not isinstance(document, dict):
        raise Malformed(_CONFIG, "it is not a JSON object")
    ours = {"rootfs", "dockerversion"}
    kept = {key: value for key, value in document.items() if key.lower() not in ours}
    kept |= {"DockerVersion": made_by, "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()


def _check(config: PluginConfig) -> None:
    if not config.entrypoint:
        raise Malformed(_CONFIG, "it names no entrypoint", 'For example: "entrypoint": ["/bin/plugin"]')
    if not config.socket or "/" in config.socket or config.socket in (".", ".."):
        why = f"interface.socket must be the name of a file in /run/docker/plugins, not {config.socket!r}"
        raise Malformed(_CONFIG, why)
    if config.protocol not in _PROTOCOLS:
        raise Malformed(_CONFIG, f"the protocol {config.protocol} is not known", f"Known is {_PROTOCOLS[1]}")
    if config.propagated_mount and not _is_plain_path(config.propagated_mount):
        raise Malformed(_CONFIG, f"propagatedMount must be an absolute path, not {config.propagated_mount!r}")
    for mount in config.mounts:
        if not mount.destination.startswith("/"):
            raise Malformed(_CONFIG, f"the destination of a mount must be an absolute path, not {mount.destination!r}")


def _is_plain_path(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and path != "/" and not {".", ".."} & set(parts) and "\0" not in path


def _lowered(value: Any) -> Any:
    """With every key in lower case, and without what is null. There are no keys that are not field names."""
    if isinstance(value, dict):
        return {key.lower(): _lowered(each) for key, each in value.items() if each is not None}
    return [_lowered(each) for each in value] if isinstance(value, list) else value


def _given(fields: Fields, key: str) -> str | None:
    return None if fields.value(key) is None else fields.text(key)


def _variable(fields: Fields) -> PluginVariable:
    return PluginVariable(
        fields.text("name"), fields.text("description"), _given(fields, "value"), fields.texts("settable") or ()
    )


def _mount(fields: Fields) -> PluginMount:
    return PluginMount(
        destination=fields.text("destination"),
        source=_given(fields, "source"),
        type=fields.text("type"),
        options=fields.texts("options") or (),
        name=fields.text("name"),
        description=fields.text("description"),
        settable=fields.texts("settable") or (),
    )


def _device(fields: Fields) -> PluginDevice:
    return PluginDevice(
        _given(fields, "path"), fields.text("name"), fields.text("description"), fields.texts("settable") or ()
    )


def _arguments(fields: Fields) -> PluginArguments:
    return PluginArguments(
        fields.text("name"),
        fields.text("description"),
        fields.texts("value") or (),
        fields.texts("settable") or (),
    )
