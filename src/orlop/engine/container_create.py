"""Creating a container: from a wish to a record, with its volumes, its writable layer and its folder."""

import dataclasses
import logging
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack

from orlop.engine.container_records import ContainerRecords
from orlop.engine.executor import Executor
from orlop.engine.images import Images
from orlop.engine.surroundings import prepare_bind_source
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict, Malformed, NoSuchContainer, NoSuchImage, NoSuchVolume
from orlop.model.container import Container, ContainerWish, RestartPolicy
from orlop.model.image import Image
from orlop.model.mount import Mount, MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import parse_volumes_from
from orlop.model.names import parse_container_name, pick_name
from orlop.model.volume import Volume
from orlop.planning.containers import command_line, merge_config, plan_create
from orlop.planning.mounts import inherit_mounts, plan_mount, resolve_mounts, settle_propagation
from orlop.planning.waiting import split_wait
from orlop.store.paths import DataRoot

log = logging.getLogger(__name__)


class ContainerCreation:
    def __init__(
        self, records: ContainerRecords, images: Images, volumes: Volumes, executor: Executor, data_root: DataRoot
    ) -> None:
        self._records = records
        self._images = images
        self._volumes = volumes
        self._executor = executor
        self._data_root = str(data_root.path.resolve())

    def create(self, wish: ContainerWish) -> Container:
        with ExitStack() as held:
            image = held.enter_context(self._images.hold(self._images.resolve(wish.config.image)))
            return self._create(wish, image, held)

    def _create(self, wish: ContainerWish, image: Image, images: ExitStack) -> Container:
        """What `images` holds stays until the container is on record and keeps it itself."""
        config = merge_config(wish.config, self._images.config(image))
        words = command_line(config)
        requests = resolve_mounts(wish.host, config.volumes, self._inherited(wish.host.volumes_from))
        container_id = secrets.token_hex(32)
        name = self._reserve_name(wish.name, container_id)
        held: list[str] = []
        try:
            mounts = tuple(self._mount(request, container_id, held, images) for request in requests)
            container = Container(
                id=container_id,
                name=name,
                created_at_ns=time.time_ns(),
                image_id=image.id,
                config=config,
                host=dataclasses.replace(wish.host, restart_policy=_checked_policy(wish)),
                layer_id=secrets.token_hex(32),
                mounts=mounts,
                path=words[0],
                args=words[1:],
                client_view=wish.client_view,
            )
            plan = plan_create(container, self._images.top_layer(image), any(mount.copy_up for mount in mounts))
            self._executor.run(plan, outcome=lambda: [self._records.remember(container)])
        except BaseException:
            self._records.free_name(name, container_id)
            self._volumes.abandon(container_id, held)
            raise
        return container

    def _reserve_name(self, wished: str, container_id: str) -> str:
        if wished:
            name = parse_container_name(wished)
        else:
            name = pick_name(random.choice, self._records.is_name_taken, lambda: random.randrange(10))  # noqa: S311
        self._records.reserve_name(name, container_id)
        return name

    def _mount(self, request: MountRequest, container_id: str, held: list[str], images: ExitStack) -> Mount:
        """A mount with its source settled. Volumes that the container holds from here on are noted in `held`."""
        if request.kind is MountKind.IMAGE:
            return self._image_mount(request, images)
        if request.kind is not MountKind.VOLUME:
            mount = plan_mount(settle_propagation(request, self._data_root))
            if mount.kind is MountKind.BIND and not mount.create_source:
                prepare_bind_source(mount)
            return mount
        request, wait_seconds = split_wait(request)
        volume = self._hold_volume(request, container_id)
        mount = dataclasses.replace(plan_mount(request, volume), wait_seconds=wait_seconds)
        held.append(mount.volume)
        if volume.is_read_only:
            return dataclasses.replace(mount, read_only=True, copy_up=False)
        # What holds something is not filled, and then the layer need not be mounted to look at the image.
        wanted = mount.copy_up and (bool(mount.subpath) or self._volumes.is_fillable(volume.name))
        return dataclasses.replace(mount, copy_up=wanted)

    def _hold_volume(self, request: MountRequest, container_id: str) -> Volume:
        """The volume that the mount asks for; the container holds it from the moment that it is there."""
        if request.origin is MountOrigin.VOLUMES_FROM:
            try:
                self._volumes.hold(request.source, container_id)
                return self._volumes.get(request.source)
            except NoSuchVolume as error:  # it must not get an empty one of that name
                why = f"its volume {request.source} was removed meanwhile"
                raise Conflict("--volumes-from", why, "Use a container whose volumes are there") from error
        return self._volumes.create(
            request.source,
            request.driver,
            dict(request.driver_options) or None,
            dict(request.labels) or None,
            container_id,
        )

    def _image_mount(self, request: MountRequest, images: ExitStack) -> Mount:
        known = request.image_id and self._images.of_container(request.image_id)
        try:
            image = images.enter_context(self._images.hold(known or self._images.resolve(request.source)))
        except NoSuchImage as error:
            # Not as "not found": the docker command would take it for the container's own image, and try to pull that.
            raise Malformed('invalid mount config for type "image"', error.message) from error
        facts = self._images.describe(image)
        # There is no one directory with all of the image's files; this is where the topmost are.
        where = facts.get("UpperDir") or facts.get("SourceDir", "")
        return dataclasses.replace(plan_mount(request), image_id=image.id, source=where)

    def _inherited(self, specifications: Sequence[str]) -> list[Mount]:
        """The mounts of --volumes-from containers, later ones winning; "ro" makes all of them read-only."""
        result: list[Mount] = []
        for specification in specifications:
            reference, read_only = parse_volumes_from(specification)
            try:
                container = self._records.find(reference)
            except NoSuchContainer as error:
                raise Malformed("", str(error), "Give the name of a container in --volumes-from") from error
            result += inherit_mounts(container.mounts, read_only)
        return result


def _checked_policy(wish: ContainerWish) -> RestartPolicy:
    policy = wish.host.restart_policy
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise Malformed(
            "",
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'",
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise Malformed("", "invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if wish.host.auto_remove and policy.name not in ("", "no"):
        raise Malformed("", "can't create 'AutoRemove' container with restart policy")
    return dataclasses.replace(policy, name=policy.name or "no")
