"""Managed plugins: programs in a root file system of their own that the daemon installs, starts and watches.

A plugin is named like an image (`rclone/docker-volume-rclone:latest`). Its *configuration* came with it and says what
it needs of the host; its *settings* are what its user made of the parts that the configuration calls settable.
"""

from collections.abc import Sequence
from dataclasses import replace

from orlop.errors import Conflict, Forbidden, Malformed
from orlop.model.value import dataclass

VOLUME_DRIVER = "volumedriver"
LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class PluginVariable:
    name: str
    description: str = ""
    value: str | None = None
    settable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginMount:
    destination: str
    source: str | None = None
    type: str = ""
    options: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
    settable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginDevice:
    path: str | None = None
    name: str = ""
    description: str = ""
    settable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginArguments:
    name: str = ""
    description: str = ""
    value: tuple[str, ...] = ()
    settable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginConfig:
    types: tuple[str, ...] = ()  # "docker.volumedriver/1.0"
    socket: str = ""  # its name, in /run/docker/plugins
    protocol: str = ""
    description: str = ""
    documentation: str = ""
    made_by: str = ""  # version of the engine that packed it
    entrypoint: tuple[str, ...] = ()
    workdir: str = ""
    network: str = ""
    mounts: tuple[PluginMount, ...] = ()
    propagated_mount: str = ""
    variables: tuple[PluginVariable, ...] = ()
    arguments: PluginArguments = PluginArguments()
    capabilities: tuple[str, ...] = ()
    devices: tuple[PluginDevice, ...] = ()
    all_devices: bool = False
    host_ipc: bool = False
    host_pid: bool = False
    uid: int = 0
    gid: int = 0
    diff_ids: tuple[str, ...] = ()

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it can do, without who defined it and the version: "volumedriver"."""
        return tuple(each.partition("/")[0].partition(".")[2].lower() for each in self.types)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    mounts: tuple[PluginMount, ...] = ()
    devices: tuple[PluginDevice, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugin:
    id: str
    name: str  # familiar, with its tag
    reference: str  # where it was installed from, or its name where it was made here
    config: PluginConfig
    settings: PluginSettings
    config_digest: str
    layers: tuple[str, ...]  # digests as packed, bottom first
    manifest_digest: str = ""
    enabled: bool = False
    timeout_seconds: int = 0  # for each call; 0: the usual ones
    version: int = 1  # of its root file system: each upgrade makes the next
    # Its process, where there is one:
    pid: int = 0
    supervisor_pid: int = 0
    supervisor_started: int = 0

    @property
    def is_volume_driver(self) -> bool:
        return VOLUME_DRIVER in self.config.abilities


@dataclass(frozen=True, slots=True)
class Privilege:
    """Something of the host that a plugin asks for, and whoever installs it agrees to."""

    name: str
    description: str
    values: tuple[str, ...]


def default_settings(config: PluginConfig) -> PluginSettings:
    return PluginSettings(
        config.mounts,
        config.devices,
        tuple((each.name, each.value) for each in config.variables if each.value is not None),
        config.arguments.value,
    )


def required_privileges(config: PluginConfig) -> list[Privilege]:
    found: list[Privilege] = []
    if config.network not in ("null", "bridge", "none", ""):
        found.append(Privilege("network", "permissions to access a network", (config.network,)))
    if config.host_ipc:
        found.append(Privilege("host ipc namespace", "allow access to host ipc namespace", ("true",)))
    if config.host_pid:
        found.append(Privilege("host pid namespace", "allow access to host pid namespace", ("true",)))
    for mount in config.mounts:
        if mount.source is not None:
            found.append(Privilege("mount", "host path to mount", (mount.source,)))
    for device in config.devices:
        if device.path is not None:
            found.append(Privilege("device", "host device to access", (device.path,)))
    if config.all_devices:
        found.append(Privilege("allow-all-devices", "allow 'rwm' access to all devices", ("true",)))
    if config.capabilities:
        found.append(Privilege("capabilities", "list of additional capabilities required", config.capabilities))
    return found


def check_privileges(subject: str, config: PluginConfig, granted: Sequence[Privilege]) -> None:
    """Exactly what it needs must have been agreed to, no more and no less: what is in the registry may have changed
    since its user was asked. Raises Forbidden."""
    needed = required_privileges(config)
    if sorted(map(_essence, needed)) != sorted(map(_essence, granted)):
        listed = ", ".join(f"{each.name}: {' '.join(each.values)}" for each in needed) or "none"
        raise Forbidden(subject, "incorrect privileges", f"It needs exactly these: {listed}")


def _essence(privilege: Privilege) -> tuple[str, tuple[str, ...]]:
    return privilege.name, tuple(sorted(privilege.values))


# Settings


@dataclass(frozen=True, slots=True)
class _Wish:
    name: str
    field: str
    value: str

    @property
    def shown(self) -> str:
        return f"{self.name}.{self.field}" if self.field else self.name


def change_settings(plugin: Plugin, wishes: Sequence[str]) -> PluginSettings:
    """`NAME[.FIELD]=VALUE` each. Raises Malformed, in Docker's words, and Conflict for a plugin that is enabled."""
    if plugin.enabled:
        raise Conflict("", "cannot set on an active plugin, disable plugin before setting")
    settings = plugin.settings
    for wish in map(_parse_wish, wishes):
        settings = _apply(plugin.config, settings, wish)
    return settings


def _parse_wish(text: str) -> _Wish:
    name, _, value = text.partition("=")
    if not name:
        raise Malformed("", "invalid format, must be <name>[.<field>][=<value>]")
    head, dot, field = name.rpartition(".")
    return _Wish(head, field, value) if dot and head else _Wish(name, "", value)


def _apply(config: PluginConfig, settings: PluginSettings, wish: _Wish) -> PluginSettings:
    for variable in config.variables:
        if variable.name == wish.name:
            _require_settable(wish, "value", variable.settable)
            return replace(settings, variables=_with_variable(settings.variables, wish.name, wish.value))
    for mount in config.mounts:
        if mount.name == wish.name:
            _require_settable(wish, "source", mount.settable)
            mounts = tuple(replace(m, source=wish.value) if m.name == wish.name else m for m in settings.mounts)
            return replace(settings, mounts=mounts)
    for device in config.devices:
        if device.name == wish.name:
            _require_settable(wish, "path", device.settable)
            devices = tuple(replace(d, path=wish.value) if d.name == wish.name else d for d in settings.devices)
            return replace(settings, devices=devices)
    if config.arguments.name == wish.name:
        _require_settable(wish, "value", config.arguments.settable)
        return replace(settings, arguments=tuple(wish.value.split(" ")))
    raise Malformed("", f'setting "{wish.name}" not found in the plugin configuration')


def _require_settable(wish: _Wish, allowed: str, settable: Sequence[str]) -> None:
    field = wish.field
    if not field and len(settable) > 1:
        raise Malformed("", "multiple fields are settable, one must be specified")
    if not field and settable:
        field = settable[0]
    if field != allowed or field not in settable:
        raise Malformed("", f'"{wish.shown}" is not settable')


def _with_variable(known: Sequence[tuple[str, str]], name: str, value: str) -> tuple[tuple[str, str], ...]:
    if any(each == name for each, _ in known):
        return tuple((each, value if each == name else old) for each, old in known)
    return (*known, (name, value))


def carry_settings(old: PluginConfig, settings: PluginSettings, new: PluginConfig) -> PluginSettings:
    """What its user set goes along to another version of the plugin, as far as that can be set there, too."""
    before, after = default_settings(old), default_settings(new)
    for name, value in settings.variables:
        if (name, value) not in before.variables:
            after = _carried(new, after, _Wish(name, "value", value))
    for mount in settings.mounts:
        if mount not in before.mounts and mount.source is not None:
            after = _carried(new, after, _Wish(mount.name, "source", mount.source))
    for device in settings.devices:
        if device not in before.devices and device.path is not None:
            after = _carried(new, after, _Wish(device.name, "path", device.path))
    if settings.arguments != before.arguments and "value" in new.arguments.settable:
        after = replace(after, arguments=settings.arguments)
    return after


def _carried(config: PluginConfig, settings: PluginSettings, wish: _Wish) -> PluginSettings:
    try:
        return _apply(config, settings, wish)
    except Malformed:
        return settings
