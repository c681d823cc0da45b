"""Managed plugins, to Docker's spelling, and what clients say of who asks."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from orlop.docker.messages import ApiVersion
from orlop.docker.wire.decoding import decode_json
from orlop.docker.wire.managed_plugin import Privilege as WirePrivilege
from orlop.docker.wire.managed_plugin import RegistryAuth
from orlop.drivers.registries.driver import Credentials
from orlop.errors import Malformed
from orlop.model.plugin import Plugin, PluginConfig, PluginDevice, PluginMount, Privilege
from orlop.model.volume import hide_secrets


def show_plugin(plugin: Plugin, api: ApiVersion) -> dict[str, Any]:
    settings = plugin.settings
    variables = hide_secrets(dict(settings.variables))
    return {
        "Config": _show_config(plugin.config, api),
        "Enabled": plugin.enabled,
        "Id": plugin.id,
        "Name": plugin.name,
        "PluginReference": plugin.reference,
        "Settings": {
            "Args": list(settings.arguments),
            "Devices": [_show_device(each) for each in settings.devices],
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "Mounts": [_show_mount(each) for each in settings.mounts],
        },
    }


def _show_config(config: PluginConfig, api: ApiVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Args": {
            "Description": config.arguments.description,
            "Name": config.arguments.name,
            "Settable": list(config.arguments.settable) or None,
            "Value": list(config.arguments.value),
        },
        "Description": config.description,
        "DockerVersion": config.made_by,
        "Documentation": config.documentation,
        "Entrypoint": list(config.entrypoint),
        "Env": [
            {
                "Description": each.description,
                "Name": each.name,
                "Settable": list(each.settable) or None,
                "Value": hide_secrets({each.name: each.value})[each.name] if each.value is not None else None,
            }
            for each in config.variables
        ],
        "Interface": {"Socket": config.socket, "Types": list(config.types)},
        "IpcHost": config.host_ipc,
        "Linux": {
            "AllowAllDevices": config.all_devices,
            "Capabilities": list(config.capabilities) or None,
            "Devices": [_show_device(each) for each in config.devices] or None,
        },
        "Mounts": [_show_mount(each) for each in config.mounts] or None,
        "Network": {"Type": config.network},
        "PidHost": config.host_pid,
        "PropagatedMount": config.propagated_mount,
        "User": {key: number for key, number in (("UID", config.uid), ("GID", config.gid)) if number},
        "WorkDir": config.workdir,
        "rootfs": {"diff_ids": list(config.diff_ids), "type": "layers"},
    }
    if config.protocol:
        shown["Interface"]["ProtocolScheme"] = config.protocol
    if api >= (1, 52):
        del shown["DockerVersion"]
    return shown


def _show_mount(mount: PluginMount) -> dict[str, Any]:
    return {
        "Description": mount.description,
        "Destination": mount.destination,
        "Name": mount.name,
        "Options": list(mount.options) or None,
        "Settable": list(mount.settable) or None,
        "Source": mount.source,
        "Type": mount.type,
    }


def _show_device(device: PluginDevice) -> dict[str, Any]:
    return {
        "Description": device.description,
        "Name": device.name,
        "Path": device.path,
        "Settable": list(device.settable) or None,
    }


def show_privileges(privileges: Sequence[Privilege]) -> list[dict[str, Any]]:
    return [{"Name": each.name, "Description": each.description, "Value": list(each.values)} for each in privileges]


def read_privileges(given: Sequence[WirePrivilege]) -> list[Privilege]:
    return [Privilege(each.Name, each.Description, tuple(each.Value or ())) for each in given]


def read_credentials(header: str) -> Credentials:
    """As clients send them with each call that leads to a registry. Raises Malformed, without what was sent."""
    if not header:
        return Credentials()
    try:
        raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        found = decode_json(raw, RegistryAuth)
    except (binascii.Error, ValueError, Malformed):
        raise Malformed("", "X-Registry-Auth is not what it should be", "Log in again: docker login") from None
    return Credentials(found.username, found.password, found.identitytoken, found.registrytoken)
