"""Plans of what is done to managed plugins, and the bundle that one runs as.

    plugin.create    its content into its folder              a crash undoes it
    plugin.upgrade   another root file system beside the old  a crash undoes it
    plugin.enable    its process started                      a crash undoes it: the process ends
    plugin.disable   its process ended                        a crash finishes it
    plugin.remove    its folder put away                      a crash finishes it

What was staged lies below incoming/, which a start empties; blobs that no plugin's record names are deleted there, too.
"""

from collections.abc import Mapping
from pathlib import Path

from orlop.drivers.runtimes.driver import Bundle, BundleMount, Process
from orlop.errors import Malformed
from orlop.model.container import Device
from orlop.model.plugin import Plugin
from orlop.planning.plan import Plan, Step

CREATE, UPGRADE, ENABLE, DISABLE, REMOVE = (
    f"plugin.{verb}" for verb in ("create", "upgrade", "enable", "disable", "remove")
)
STORE, PLACE, START, STOP, RELEASE, PUT_AWAY = (
    f"plugin.{step}" for step in ("store", "place", "start", "stop", "release", "put-away")
)

SOCKETS = "/run/docker/plugins"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOG_BYTES = 1 << 20


def plan_content(operation: str, plugin: Plugin, staging: str) -> Plan:
    """`operation` is CREATE or UPGRADE; `plugin` as it will be."""
    arguments = {"staging": staging, "version": str(plugin.version)}
    why = "what it came as is kept, to be pushed" if operation == CREATE else "so is what the new version came as"
    steps = (
        Step(STORE, plugin.id, why, arguments),
        Step(PLACE, plugin.id, f"version {plugin.version} of its root file system is complete", arguments),
    )
    return Plan(operation, plugin.name, steps)


def plan_enable(plugin: Plugin) -> Plan:
    return Plan(ENABLE, plugin.name, (Step(START, plugin.id, "it is disabled and wanted", {}),))


def plan_disable(plugin: Plugin, keep_mounts: bool) -> Plan:
    arguments = {"keep-mounts": "yes" if keep_mounts else ""}
    return Plan(DISABLE, plugin.name, (Step(STOP, plugin.id, "it is not wanted any more", arguments),))


def plan_remove(plugin: Plugin, kept_as: str) -> Plan:
    """`kept_as`: what its folder is called from then on, where volumes of it are known whose data may lie there; ""
    where it is deleted."""
    reason = "volumes of it are known, and their data may be there" if kept_as else "nobody needs it"
    steps = (
        Step(RELEASE, plugin.id, "nothing may be mounted in what is put away", {}),
        Step(PUT_AWAY, plugin.id, reason, {"kept-as": kept_as}),
    )
    return Plan(REMOVE, plugin.name, steps)


def build_plugin_bundle(
    plugin: Plugin, rootfs: Path, propagated: Path, sockets: Path, log: Path, variables: Mapping[str, str]
) -> Bundle:
    """`variables`: its settings with the secrets that they name."""
    config = plugin.config
    mounts: list[BundleMount] = []
    if config.propagated_mount:
        mounts.append(BundleMount(config.propagated_mount, str(propagated), "bind", ("rbind", "rw", "rshared")))
    mounts.append(BundleMount(SOCKETS, str(sockets), "bind", ("rbind", "rprivate", "rw")))
    if config.network not in ("", "none", "null"):
        mounts += [
            BundleMount(path, path, "bind", ("rbind", "rprivate", "ro")) for path in ("/etc/hosts", "/etc/resolv.conf")
        ]
    for mount in plugin.settings.mounts:
        if mount.source is None:
            named = mount.name or mount.destination
            hint = f"docker plugin set {plugin.name} {named}.source=PATH"
            raise Malformed(f"plugin {plugin.name}", f"the source of its mount {named} is not set", hint)
        mounts.append(BundleMount(mount.destination, mount.source, mount.type or "bind", mount.options))
    return Bundle(
        container_id=plugin.id,
        name=plugin.id[:12],
        log_path=log,
        rootfs=rootfs,
        readonly_rootfs=False,
        process=Process(
            args=(*config.entrypoint, *plugin.settings.arguments),
            env=(_PATH, *(f"{name}={value}" for name, value in variables.items())),
            cwd=config.workdir or "/",
            cap_add=config.capabilities,
        ),
        hostname=plugin.id[:12],
        mounts=tuple(mounts),
        devices=_devices(plugin),
        all_devices=config.all_devices,
        seccomp="unconfined",  # as with Docker: its privileges are what was agreed to
        network_namespace="host" if config.network == "host" else "",
        ipc_namespace="host" if config.host_ipc else "",
        pid_namespace="host" if config.host_pid else "",
        log_max_bytes=_LOG_BYTES,
    )


def _devices(plugin: Plugin) -> tuple[Device, ...]:
    found = []
    for device in plugin.settings.devices:
        if device.path is None:
            hint = f"docker plugin set {plugin.name} {device.name}.path=PATH"
            raise Malformed(f"plugin {plugin.name}", f"the path of its device {device.name} is not set", hint)
        found.append(Device(device.path, device.path))
    return tuple(found)
