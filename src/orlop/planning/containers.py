"""What creating, starting and removing a container takes, as plans; and the rules that need no world.

Steps carry in their arguments all that finishing or undoing them needs, since a crash may leave nothing else.
"""

import dataclasses
from collections.abc import Sequence

from orlop.errors import Malformed
from orlop.model.container import Container, ContainerConfig
from orlop.model.image import ImageConfig
from orlop.model.mount import Mount, MountKind, MountOrigin
from orlop.planning.plan import Plan, Step

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_STOP_SIGNAL = "SIGTERM"
DEFAULT_STOP_TIMEOUT_SECONDS = 10


def merge_config(wish: ContainerConfig, image: ImageConfig) -> ContainerConfig:
    """The container's configuration: what the user said, and the image's word where the user said nothing.

    The image's command falls away when the user gives an entrypoint; an empty entrypoint ("") clears the image's.
    """
    entrypoint, command = wish.entrypoint, wish.command or None
    if entrypoint is None:
        entrypoint = image.entrypoint
        if command is None:
            command = image.command
    elif entrypoint == ("",):
        entrypoint = ()
    wanted = {item.partition("=")[0] for item in wish.env}
    inherited = tuple(item for item in image.env if item.partition("=")[0] not in wanted)
    return dataclasses.replace(
        wish,
        entrypoint=entrypoint,
        command=command,
        env=inherited + wish.env,
        user=wish.user or image.user,
        workdir=wish.workdir or image.workdir,
        labels={**image.labels, **wish.labels},
        volumes=tuple(dict.fromkeys(image.volumes + wish.volumes)),
        exposed_ports=tuple(dict.fromkeys(image.exposed_ports + wish.exposed_ports)),
        stop_signal=wish.stop_signal or image.stop_signal,
    )


def command_line(config: ContainerConfig) -> tuple[str, ...]:
    """Program and arguments. Raises Malformed when there is nothing to run."""
    words = tuple(config.entrypoint or ()) + tuple(config.command or ())
    if not words or not words[0]:
        raise Malformed("", "No command specified", "")
    return words


def process_environment(config: ContainerConfig, hostname: str, home: str) -> tuple[str, ...]:
    """The first process's environment: Docker's defaults first, then the configuration's; NAME without "=" was
    taken out by the user."""
    defaults = [DEFAULT_PATH, f"HOSTNAME={hostname}"]
    if config.tty:
        defaults.append("TERM=xterm")
    named = {item.partition("=")[0] for item in config.env}
    result = [item for item in defaults if item.partition("=")[0] not in named]
    result += [item for item in config.env if "=" in item]
    if "HOME" not in named:
        result.append(f"HOME={home}")
    return tuple(result)


def plan_create(container: Container, parent_layer: str, needs_population: bool) -> Plan:
    """`container.mounts` are resolved; volumes that did not exist were made before, and are held."""
    steps = [
        Step(
            "layer.create",
            container.layer_id,
            "the container's writable layer",
            {"parent": parent_layer},
        )
    ]
    steps += [
        Step(
            "volume.hold",
            mount.volume,
            "the container's hold on it, so that nobody removes it",
            {"container": container.id},
        )
        for mount in unique_volumes(container.mounts)
    ]
    if needs_population:
        steps.append(Step("layer.mount", container.layer_id, "to read what the image has at the volumes' places"))
        steps += [
            Step(
                "volume.populate",
                mount.volume,
                f"an empty volume gets the image's {mount.destination}",
                {
                    "destination": mount.destination,
                    "layer": container.layer_id,
                    "workdir": container.config.workdir,
                    "subpath": mount.subpath,
                    # Nobody chose this volume, so a file of the image's is not what it was meant to replace.
                    "refuse_file": "yes" if mount.origin is MountOrigin.CONFIG else "",
                },
            )
            for mount in container.mounts
            if mount.kind is MountKind.VOLUME and mount.copy_up
        ]
        steps.append(Step("layer.unmount", container.layer_id, "it is mounted again at start"))
    steps.append(Step("directory.create", container.id, "for the bundle and the log"))
    return Plan("container.create", container.id, tuple(steps))


def plan_start(container: Container) -> Plan:
    """Everything up to a process that exists and waits; letting it go is the moment after the outcome."""
    steps = [
        Step("network.join", container.id, f"network {container.host.network_mode}"),
        Step("layer.mount", container.layer_id, "the container's root file system", {"container": container.id}),
    ]
    steps += [
        Step(
            "volume.attach",
            mount.volume,
            f"for {mount.destination}",
            {"container": container.id, "at": mount.destination},
        )
        for mount in container.mounts
        if mount.kind is MountKind.VOLUME
    ]
    steps.append(Step("process.create", container.id, "under its supervisor, waiting to be started"))
    return Plan("container.start", container.id, tuple(steps))


def plan_cleanup(container: Container) -> Plan:
    """What a container's end leaves to put away; the way back of `plan_start`."""
    steps = [Step("process.delete", container.id, "cgroup and runtime state")]
    steps += [
        Step(
            "volume.detach",
            mount.volume,
            f"was at {mount.destination}",
            {"container": container.id, "at": mount.destination},
        )
        for mount in container.mounts
        if mount.kind is MountKind.VOLUME
    ]
    steps.append(Step("layer.unmount", container.layer_id, "nothing runs in it"))
    steps.append(Step("network.leave", container.id, "its address is free again"))
    return Plan("container.cleanup", container.id, tuple(steps))


def plan_remove(container: Container, remove_anonymous: bool) -> Plan:
    """Finished after a crash, never undone: the first step marks the container, from then on it goes."""
    steps = [Step("container.mark", container.id, "from here on it can only go")]
    steps += plan_cleanup(container).steps
    steps.append(Step("layer.remove", container.layer_id, "its writable layer goes with it"))
    volumes = unique_volumes(container.mounts)
    steps += [Step("volume.release", mount.volume, "no longer held", {"container": container.id}) for mount in volumes]
    if remove_anonymous:
        steps += [
            Step("volume.retire", mount.volume, "anonymous, and asked to go with the container")
            for mount in volumes
            if mount.anonymous
        ]
    steps.append(Step("directory.remove", container.id, "bundle and log"))
    return Plan("container.remove", container.id, tuple(steps))


def unique_volumes(mounts: Sequence[Mount]) -> list[Mount]:
    """One mount for each volume a container uses, in order."""
    return list({mount.volume: mount for mount in reversed(mounts) if mount.kind is MountKind.VOLUME}.values())[::-1]
