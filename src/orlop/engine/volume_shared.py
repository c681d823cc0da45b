"""Volumes that a cluster's hosts share: what this host asks of the cluster about them, and tells it.

A volume is *shared* once it stands in the cluster's catalogue; its record here says so. One that others made is shown
in listings, and taken in (made by this host's driver, with the same options, id and all) when somebody first means it.

Names. A name that stands in the catalogue is taken everywhere. A volume that this host had before under that name stays
what the name means here, for its containers' sake, and listings warn of it.

Without a cluster all of this is nothing, and costs nothing.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from orlop.cluster.contract import Cluster
from orlop.drivers.volumes.abilities import Leashed, Located, Shareable, scope_of
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import Conflict, Malformed, NotFound, OrlopError, Unavailable, Unsupported
from orlop.model.cluster import ACCESS, Access, GlobalUse, GlobalVolume
from orlop.model.on_hang import for_driver
from orlop.model.volume import Volume, hide_secrets

log = logging.getLogger(__name__)

GLOBAL = "global"

Options = Mapping[str, str]


class SharedVolumes:
    """Thread-safe. `name_of` names containers for people, `is_running` says whether one runs."""

    def __init__(self, cluster: Cluster | None, records: VolumeRecords, drivers: Mapping[str, VolumeDriver]) -> None:
        self.cluster = cluster
        self._records = records
        self._drivers = drivers
        self.name_of: Callable[[str], str] = lambda container_id: container_id[:12]
        self.is_running: Callable[[str], bool] = lambda container_id: False
        self._storages: dict[str, tuple[Options | None, str]] = {}  # by name
        self.remarks: dict[str, str] = {}  # by the volume's id: why it is not as others of the cluster
        self._views: dict[str, tuple[GlobalVolume, Volume]] = {}  # by name, so that listings need not make them anew
        records.elsewhere = self.why_taken

    # The catalogue

    def find(self, name: str) -> GlobalVolume | None:
        return self.cluster.find(name) if self.cluster is not None else None

    def why_taken(self, name: str) -> str:
        """Why no volume of this host alone may get that name; "" where it may."""
        found = self.find(name)
        if found is None:
            return self._records.gates.why_reserved(name)
        if found.coming:
            return f"{name} is a volume that node {found.coming} is about to move into the cluster"
        return f"{name} is a volume of the cluster, made on node {found.node}"

    def concerns(self, driver: VolumeDriver, options: Options | None) -> bool:
        return self.cluster is not None and scope_of(driver, options) == GLOBAL

    def check(self, subject: str, driver: VolumeDriver, options: Options) -> Options:
        """What the driver is to check. Raises Malformed for options that hold a secret, Unsupported for an access that
        the storage does not keep safe."""
        for key, value in options.items():
            if value and hide_secrets({key: value})[key] != value:
                why = f"its option {key} holds a secret, which every host of the cluster would be told"
                hint = f"Keep it on each host, by name: orlop secret create NAME FILE, and -o {key}=secret://NAME"
                raise Malformed(subject, why, hint)
        access = self.access_wanted(subject, driver, options)
        return options_for(driver, options, access)

    def access_wanted(self, subject: str, driver: VolumeDriver, options: Options) -> Access:
        """Raises Malformed, Unsupported for one that the storage does not keep safe."""
        safe = [access for access in accesses(driver, options) if access != Access.RWO or isinstance(driver, Leashed)]
        wanted = options.get(ACCESS) or (accesses(driver, options) or [""])[0]
        if wanted not in set(Access):
            raise Malformed(subject, f"access is {wanted!r}, and can be {', '.join(Access)}")
        if wanted not in safe:
            can = f"it can be {' or '.join(safe)}" if safe else "it is for one host"
            raise Unsupported(subject, f"access={wanted} is not safe with its storage", f"With this driver {can}")
        return Access(wanted)

    def access_of(self, volume: Volume) -> Access:
        """Of a shared volume."""
        entry = self._entry(volume)
        if entry is not None:
            return entry.access
        driver, options = self._drivers[volume.driver], volume.options or {}
        return Access(options.get(ACCESS) or accesses(driver, options)[0])

    def publish(self, volume: Volume, bound: str = "") -> Volume:
        """As it stands in the catalogue: this one, or the one that was there and is as wished. Raises Conflict naming
        the node of the one that is not, Unavailable."""
        wish = self.entry_of(volume, bound)
        self.refuse_twin(wish)
        found = self.publish_entry(wish)
        if found.coming:
            raise coming_elsewhere(found)
        return view(found)

    def entry_of(self, volume: Volume, bound: str = "", coming: str = "") -> GlobalVolume:
        """As it would stand in the catalogue. Raises Malformed, Unsupported."""
        cluster = self.required(f"create {volume.name}")
        driver = self._drivers[volume.driver]
        access = self.access_wanted(f"create {volume.name}", driver, volume.options or {})
        return GlobalVolume(
            volume.name,
            volume.id,
            volume.driver,
            access,
            volume.created_at_ns,
            cluster.node,
            volume.labels,
            volume.options,
            bound=bound,
            coming=coming,
        )

    def publish_entry(self, wish: GlobalVolume) -> GlobalVolume:
        with _walked("publish"):
            return self.required(f"create {wish.name}").publish(wish)

    def refuse_twin(self, wish: GlobalVolume) -> None:
        """Storage that bears one writer, by two names, would have two. Raises Conflict."""
        for other in self.twins(wish):
            why = f"its storage is that of the volume {other.name} already, made on node {other.node}"
            raise Conflict(f"create {wish.name}", why, f"It has one writer at a time: use {other.name}")

    def twins(self, entry: GlobalVolume) -> list[GlobalVolume]:
        """Others of the same storage, unless all are for reading only."""
        storage = self._storage_of(entry)
        if not storage or self.cluster is None:
            return []
        others = [each for each in self.cluster.volumes() if each.name != entry.name]
        written = [each for each in others if Access.RWO in (each.access, entry.access)]
        return [each for each in written if self._storage_of(each) == storage]

    def _storage_of(self, entry: GlobalVolume) -> str:
        """As its options say, where its driver can tell."""
        driver = self._drivers.get(entry.driver)
        if not isinstance(driver, Located):
            return ""
        known = self._storages.get(entry.name)
        if known is None or known[0] != entry.options:
            storage = ""
            with suppress(OrlopError):  # of a driver that is newer there than here
                storage = driver.storage_of(options_for(driver, entry.options or {}, entry.access))
            known = self._storages[entry.name] = (entry.options, storage)
        return known[1]

    def withdraw(self, volume: Volume) -> None:
        """Raises Conflict naming node and container that use it elsewhere, Unavailable."""
        if volume.is_shared and (found := self._entry(volume)) is not None:
            self.withdraw_entry(found)

    def withdraw_entry(self, entry: GlobalVolume) -> None:
        with _walked("withdraw"):
            self.required(f"remove {entry.name}").withdraw(entry)

    def reveal_entry(self, entry: GlobalVolume) -> None:
        with _walked("reveal"):
            self.required(f"move {entry.name}").reveal(entry)

    def publish_again(self, volume: Volume) -> None:
        """It was withdrawn and could not go. Never raises: whoever calls has an error of its own to tell."""
        if volume.is_shared and self.cluster is not None:
            try:
                self.publish(volume)
            except OrlopError as error:
                log.error("volume %s is on this host, and not in the cluster any more: %s", volume.name, error)

    def change(self, volume: Volume) -> None:
        """Labels and options as they are to be everywhere."""
        if not volume.is_shared:
            return
        cluster = self.required(f"update {volume.name}")
        found = self._entry(volume)
        if found is None:
            raise Conflict(f"update {volume.name}", "it was removed from the cluster meanwhile")
        access = self.access_wanted(f"update {volume.name}", self._drivers[volume.driver], volume.options or {})
        with _walked("change"):
            cluster.change(replace(found, labels=volume.labels, options=volume.options, access=access))

    def _entry(self, volume: Volume) -> GlobalVolume | None:
        found = self.find(volume.name)
        return found if found is not None and found.id == volume.id else None

    def required(self, subject: str) -> Cluster:
        """Raises Unavailable on a host that is alone."""
        if self.cluster is None:
            why = "this host is in no cluster"
            raise Unavailable(subject, why, "Start the daemon with --cluster etcd://HOST:2379 --node NAME")
        return self.cluster

    def refuse_other(self, existing: Volume, driver: str, options: Options | None) -> None:
        """Of a shared volume there is one, with one set of options. Raises Conflict naming its node."""
        found = self._entry(existing) if existing.is_shared else None
        if found is not None and not found.is_as_wished(driver, options):
            why = f"driver '{found.driver}' already has volume '{found.name}' in the cluster, made on node {found.node}"
            hint = f"Look at it: docker volume inspect {found.name}"
            raise Conflict(f"create {found.name}", f"{why}, with other options: volume name must be unique", hint)

    # Uses

    def begin_use(self, volume: Volume, container_id: str) -> None:
        """Before the container holds it here. Raises Conflict when it is gone, Unavailable."""
        if not volume.is_shared or self.cluster is None:
            return
        try:
            with _walked("use"):
                self.cluster.begin_use(self._use(volume, container_id))
        except NotFound as error:  # not as "not found", which clients take for the image
            raise Conflict(f"volume {volume.name}", error.why, "Create it anew") from error

    def end_use(self, volume: Volume | None, container_id: str) -> None:
        if volume is not None and volume.is_shared and self.cluster is not None:
            self.cluster.end_use(volume.id, container_id)

    def note_running(self, volume: Volume, container_id: str, is_running: bool) -> None:
        if volume.is_shared and self.cluster is not None:
            self.cluster.note_use(replace(self._use(volume, container_id), is_running=is_running))

    def own_uses(self) -> Sequence[GlobalUse]:
        """All of this host."""
        return [
            self._use(volume, holder)
            for volume in self._records.all()
            if volume.is_shared
            for holder in self._records.holders(volume.name)
        ]

    def _use(self, volume: Volume, container_id: str) -> GlobalUse:
        assert self.cluster is not None
        name, is_running = self.name_of(container_id), self.is_running(container_id)
        return GlobalUse(volume.id, self.cluster.node, container_id, name, is_running)

    def uses(self, name: str) -> Sequence[GlobalUse]:
        """On all hosts, of the cluster's volume of that name."""
        found = self.find(name)
        return self.cluster.uses(found.id) if self.cluster is not None and found is not None else ()

    # Its storage

    def before_attach(self, volume: Volume, driver: VolumeDriver) -> None:
        """Another storage than the one that other hosts have is not attached."""
        found = self._entry(volume) if volume.is_shared else None
        if found is not None and found.identity and isinstance(driver, Shareable):
            driver.expect(volume.name, found.identity)

    def is_the_one(self, volume: Volume, driver: VolumeDriver) -> bool:
        """Whether what was attached is known to be the storage that all hosts have: who saw it first tells the others.
        Raises Unavailable where that cannot be told."""
        found = self._entry(volume) if volume.is_shared else None
        if found is None or found.identity or not isinstance(driver, Shareable):
            return True
        identity = driver.identity(volume.name)
        return not identity or self.required(f"attaching volume {volume.name}").identify(found, identity) == identity

    # Listings

    @property
    def version(self) -> Hashable:
        """Of what `strangers` and `warnings` say besides what the records do: while it stays equal, so do they."""
        if self.cluster is None:
            return None
        return self.cluster.version, tuple(self.remarks.copy().items())

    def strangers(self) -> list[Volume]:
        """What others made and nobody here has used."""
        if self.cluster is None:
            return []
        shown = []
        for found in self.cluster.volumes():
            if not found.coming and self._records.find(found.name) is None:
                known = self._views.get(found.name)
                if known is None or known[0] is not found:
                    known = self._views[found.name] = (found, view(found))
                shown.append(known[1])
        return shown

    def warnings(self) -> list[str]:
        if self.cluster is None:
            return []
        remarks = [self.remark(volume) for volume in self._records.all() if volume.id in self.remarks]
        hidden_ones = [hidden(volume, found) for volume, found in self.hidden()]
        return [*self.cluster.warnings(), *filter(None, remarks), *hidden_ones]

    def remark(self, volume: Volume) -> str:
        """What people should know of it in this cluster; "" where there is nothing."""
        why = self.remarks.get(volume.id)
        return f"volume {volume.name} {why}" if why else ""

    def bound_to(self, entry: GlobalVolume) -> str:
        """The node, unless it was taken out of the cluster since."""
        bound = entry.bound or entry.coming
        is_member = self.cluster is not None and any(node.name == bound for node in self.cluster.nodes())
        return bound if bound and is_member else ""

    def hidden(self) -> list[tuple[Volume, GlobalVolume]]:
        """Volumes of this host alone whose names others mean another one by."""
        if self.cluster is None:
            return []
        return [
            (volume, found)
            for volume in self._records.all()
            if not volume.is_anonymous and (found := self.cluster.find(volume.name)) and found.id != volume.id
        ]


@contextmanager
def _walked(step: str) -> Iterator[None]:
    """Where tests kill the daemon."""
    faults.point("cluster", step, "before")
    yield
    faults.point("cluster", step, "after")


def hidden(volume: Volume, found: GlobalVolume) -> str:
    return (
        f"volume {volume.name}: on this host the name means its own volume (driver {volume.driver}), and not the "
        f"cluster's (driver {found.driver}, made on node {found.node}). To reach that one give this one another name: "
        f"orlop volume rename {volume.name} NAME"
    )


def coming_elsewhere(entry: GlobalVolume) -> Unavailable:
    hint = f"Wait for the end of that; if that host is gone for good: orlop node rm {entry.coming}"
    return Unavailable(f"volume {entry.name}", entry.why_coming, hint)


def view(found: GlobalVolume) -> Volume:
    """As this host shows it before it has it, and takes it in."""
    return Volume(
        found.name,
        found.id,
        found.driver,
        found.created_at_ns,
        "",
        found.labels,
        found.options,
        GLOBAL,
        is_shared=True,
    )


def accesses(driver: VolumeDriver, options: Options) -> Sequence[str]:
    return driver.accesses(options) if isinstance(driver, Shareable) else (Access.RWX, Access.ROX)


def options_for(driver: VolumeDriver, options: Options, access: str) -> Options:
    """What the driver is given: it does not know of the cluster's own option."""
    own = {key: value for key, value in options.items() if key != ACCESS}
    return driver.options_for(own, access) if isinstance(driver, Shareable) else own


def own_options(driver: VolumeDriver, volume: Volume) -> Options:
    """What the driver is given of a volume's options."""
    options = for_driver(volume.options)
    return options_for(driver, options, options.get(ACCESS, "")) if volume.is_shared else options


def unusable(name: str, error: OrlopError) -> Conflict:
    """A volume that others made cannot be had on this host."""
    return Conflict(
        f"volume {name} of the cluster", f"this host cannot use it: {error.subject}: {error.why}", error.hint
    )
