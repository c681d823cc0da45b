"""The composition root: the only place that knows every driver by name, and puts the engine together."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orlop import __version__
from orlop.daemon.assemble_plugins import manage_plugins
from orlop.daemon.config import Settings
from orlop.daemon.probes import Probes
from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.layers.overlay2 import Overlay2Layers
from orlop.drivers.layers.vfs import VfsLayers
from orlop.drivers.networks.bridge import BridgeDriver
from orlop.drivers.networks.driver import NetworkDriver
from orlop.drivers.networks.host import HostDriver
from orlop.drivers.networks.none import NoneDriver
from orlop.drivers.registries.distribution import Distribution
from orlop.drivers.runtimes.driver import Runtime
from orlop.drivers.runtimes.oci import OciRuntime
from orlop.drivers.volumes.cloud import CloudBackend
from orlop.drivers.volumes.device_lease import HostLeases
from orlop.drivers.volumes.driver import DriverContext, VolumeDriver
from orlop.drivers.volumes.encrypted import INNER, EncryptedVolumes
from orlop.drivers.volumes.gocryptfs import Inner
from orlop.drivers.volumes.installed import Installed, load_installed
from orlop.drivers.volumes.juicefs import JuicefsBackend
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.nas import NasBackend
from orlop.drivers.volumes.plugin_source import DEFAULT_DIRECTORIES, PluginSource
from orlop.drivers.volumes.san import SanVolumes
from orlop.drivers.volumes.san_ways import is_writing
from orlop.drivers.volumes.served import ServedVolumes
from orlop.engine.archives import Archives
from orlop.engine.container_create import ContainerCreation
from orlop.engine.container_files import generated_files
from orlop.engine.container_records import ContainerRecords
from orlop.engine.container_steps import LOG_FILE, ContainerSteps
from orlop.engine.containers import Containers
from orlop.engine.disk_usage import DiskUsages
from orlop.engine.endings import process_of
from orlop.engine.engine import Engine
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.hang_policies import HangPolicies
from orlop.engine.images import Images
from orlop.engine.layer_cleanup import LayerCleanup
from orlop.engine.layer_mounts import LayerMounts
from orlop.engine.lifecycle import Lifecycle
from orlop.engine.logs import Logs
from orlop.engine.measuring import Measurer
from orlop.engine.mount_holders import ContainerMounts
from orlop.engine.mount_places import MountPlaces
from orlop.engine.mount_trees import MountTrees
from orlop.engine.networks import Networks
from orlop.engine.nodes import Nodes
from orlop.engine.reaper import Reaper
from orlop.engine.recovery import Recovery
from orlop.engine.redactor import redact_log
from orlop.engine.secrets import Secrets
from orlop.engine.sessions import Sessions
from orlop.engine.system import Facts, System
from orlop.engine.views import Views
from orlop.engine.volume_drivers import VolumeDrivers
from orlop.engine.volume_move_users import MoveUsers
from orlop.engine.volume_previews import VolumePreviews
from orlop.engine.volume_reports import VolumeReports
from orlop.engine.volume_trees import VolumeTrees
from orlop.engine.volume_watch import VolumeWatch
from orlop.engine.volumes import Volumes
from orlop.errors import Unavailable, Unsupported
from orlop.model.container import Container
from orlop.model.network import parse_gateway
from orlop.model.value import dataclass
from orlop.model.volume import RetirementPolicy
from orlop.planning.bundles import NO_LOG
from orlop.store.journal import Journal, Put
from orlop.store.paths import DataRoot, ExecRoot
from orlop.store.secrets import SecretFiles

if TYPE_CHECKING:
    from orlop.cluster.joined import JoinedCluster

log = logging.getLogger(__name__)

_DELETING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Assembled:
    engine: Engine
    recovery: Recovery
    reaper: Reaper
    watch: VolumeWatch
    close: Callable[[], None]


def assemble(settings: Settings, probes: Probes) -> Assembled:
    """The engine on an opened data root, and what brings it in order and to rest again."""
    data_root, exec_root = DataRoot(settings.data_root), ExecRoot(settings.exec_root)
    journal = Journal(data_root.journal)
    executor = Executor(journal)
    events = Events()
    layers = _layers(probes, data_root)
    runtimes, default_runtime, warnings = _runtimes(settings, probes, exec_root)
    network_drivers = _network_drivers(settings, exec_root)
    secrets_kept = Secrets(SecretFiles(data_root.secrets))
    redactor = secrets_kept.redactor
    redact_log(redactor)
    directories = [Path(each) for each in settings.plugin_dirs] or DEFAULT_DIRECTORIES
    managed = manage_plugins(
        lambda root: _runtime_of_plugins(root, default_runtime, probes),
        Distribution(),
        data_root,
        exec_root,
        journal,
        executor,
        events,
        secrets_kept,
    )
    plugins = PluginSource(
        exec_root.plugins,
        directories,
        secrets_kept.resolve,
        managed=managed.drivers,
        managed_run=exec_root.managed / "uses",
    )
    installed = every_volume_driver(data_root, exec_root, secrets_kept.resolve)
    drivers_of_volumes = VolumeDrivers(installed.drivers, plugins)

    cleanup = LayerCleanup(layers)
    images = Images(journal, executor, layers, data_root, events, cleanup)
    policy = RetirementPolicy(
        settings.volume_grace_seconds, settings.anonymous_volume_grace_seconds, settings.volume_low_space_percent
    )
    daemon_id = _daemon_id(journal)
    cluster = _cluster(settings, daemon_id, data_root, exec_root)
    volumes = Volumes(
        journal, executor, drivers_of_volumes, events, exec_root.subpaths, policy, redactor=redactor, cluster=cluster
    )
    networks = Networks(network_drivers, journal, events)
    records = ContainerRecords(journal)

    def name_of(container_id: str) -> str:
        container = records.get(container_id)
        return container.name if container else records.reserved_name(container_id) or container_id[:12]

    def is_running(container_id: str) -> bool:
        container = records.get(container_id)
        return container is not None and container.is_running

    volumes.describe_container = name_of
    managed.plugins.volumes_of = lambda name: [each.name for each in volumes.everything() if each.driver == name]
    managed.plugins.ended = plugins.forget
    volumes.shared.name_of, volumes.shared.is_running = name_of, is_running
    secrets_kept.volumes = volumes.everything
    secrets_kept.note_all()
    mounts = LayerMounts(layers)
    trees = MountTrees(images.open_tree)
    places = MountPlaces(exec_root.mounts, trees, str(data_root.path.resolve()))
    steps = ContainerSteps(records, layers, mounts, volumes, networks, runtimes, default_runtime, data_root, places)
    steps.register(executor)
    lifecycle = Lifecycle(records, steps, executor, events)
    creation = ContainerCreation(records, images, volumes, executor, data_root)
    containers = Containers(
        records, creation, lifecycle, steps, executor, layers, mounts, images, volumes, data_root, cleanup
    )
    sessions = Sessions(records, steps, mounts, events)
    lifecycle.before_start = sessions.connect_waiting
    lifecycle.start_failed = sessions.give_up_waiting
    containers.removed = sessions.forget
    images.containers_using = lambda image_id: [
        (item.id, item.is_running) for item in records.all() if item.needs_image(image_id)
    ]

    def find_log(reference: str) -> tuple[Path, Callable[[], bool]]:
        container = records.find(reference)
        if container.host.log_driver == NO_LOG:
            raise Unsupported("", "configured logging driver does not support reading")

        def is_running() -> bool:
            now = records.get(container.id)
            return now is not None and now.is_running

        return data_root.container(container.id) / LOG_FILE, is_running

    def generated(container: Container) -> Mapping[str, Path]:
        return generated_files(data_root.container(container.id))

    keeping, vanishes = volumes.keeping_paths, volumes.vanishes
    views = Views(mounts, volumes.attach, volumes.detach, exec_root.views, generated, trees, keeping, vanishes)
    archives = Archives(records.find, views, data_root.incoming, lifecycle.emit)
    facts = Facts(
        id=daemon_id,
        data_root=str(data_root.path),
        runtime=default_runtime,
        runtimes={name: runtime.version for name, runtime in runtimes.items()},
        volume_drivers=drivers_of_volumes,
        network_drivers=tuple(network_drivers),
        warnings=(*warnings, *installed.warnings),
    )
    system = System(facts, records, images, layers, executor)
    measurer = Measurer()
    reports = VolumeReports(volumes, drivers_of_volumes, records, measurer, redactor=redactor)
    disk_usage = DiskUsages(records, images, layers, reports)
    engine = Engine(
        containers=containers,
        images=images,
        volumes=volumes,
        networks=networks,
        sessions=sessions,
        logs=Logs(find_log),
        archives=archives,
        system=system,
        disk_usage=disk_usage,
        volume_reports=reports,
        volume_previews=VolumePreviews(volumes, drivers_of_volumes, reports),
        volume_trees=VolumeTrees(volumes.access),
        secrets=secrets_kept,
        plugins=managed.plugins,
        nodes=Nodes(volumes.shared),
        events=events,
        data_root=data_root,
    )
    recovery = Recovery(
        records,
        containers,
        lifecycle,
        steps,
        executor,
        layers,
        mounts,
        images,
        volumes,
        networks,
        views,
        places,
        runtimes,
        data_root,
        managed.plugins,
    )
    reaper = Reaper(volumes.retirements, data_root.volumes)
    watch = volumes.watch_mounts(records.all, ContainerMounts(trees, volumes.pin_again))
    standstill, end = lifecycle.standstill, lifecycle.end_for_storage
    watch.policies = HangPolicies(records.all, standstill, end, drivers_of_volumes)
    users = MoveUsers(
        records.all,
        standstill,
        lambda container: steps.runtime_of(container).processes(container.id),
        lambda container: steps.runtime_of(container).is_alive(process_of(container)),
        trees,
        lifecycle.stop_for_a_while,
        lifecycle.start_again,
        end,
    )
    volumes.moves.set_up(users, data_root.incoming)
    volumes.writing.containers, volumes.writing.standstill = records.all, standstill
    volumes.writing.end_container, volumes.writing.name_of = end, name_of
    departures = volumes.node_moves.departures
    departures.scratch = data_root.incoming
    departures.stop, departures.ends.start = containers.stop, containers.start
    departures.ends.containers, departures.ends.tell = records.all, lifecycle.tell_why
    if cluster is not None:
        cluster.start_writing()

    def close() -> None:
        reaper.stop()
        watch.stop()
        measurer.close()
        lifecycle.close()
        managed.plugins.close()
        networks.close()
        volumes.close()
        plugins.close()
        if cluster is not None:
            cluster.close()
        cleanup.wait(_DELETING_SECONDS)  # what is left is deleted at the next start
        journal.close()

    return Assembled(engine, recovery, reaper, watch, close)


def every_volume_driver(
    data_root: DataRoot,
    exec_root: ExecRoot,
    resolve_secrets: Callable[[Mapping[str, str]], Mapping[str, str]],
) -> Installed:
    """Those that are built in, and those that are installed beside Orlop."""
    built_in = volume_drivers(data_root, exec_root, resolve_secrets)

    def make_context(name: str) -> DriverContext:
        data, run = data_root.installed(name), exec_root.installed(name)
        for place in (data, run):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DriverContext(name, data, run, resolve_secrets, logging.getLogger(f"orlop.volume_drivers.{name}"))

    found = load_installed(built_in.keys(), make_context)
    return Installed({**built_in, **found.drivers}, found.warnings)


def _cluster(settings: Settings, daemon_id: str, data_root: DataRoot, exec_root: ExecRoot) -> "JoinedCluster | None":
    if not settings.cluster:
        return None
    from orlop.daemon.joining import join  # which a host alone does without

    return join(settings, daemon_id, __version__, data_root.cluster, exec_root.leashes)


def volume_drivers(
    data_root: DataRoot,
    exec_root: ExecRoot,
    resolve_secrets: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
) -> dict[str, VolumeDriver]:
    drivers: dict[str, VolumeDriver] = {"local": LocalVolumes(data_root.volumes, resolve_secrets=resolve_secrets)}
    encrypted = data_root.volumes_of("encrypted")
    below: dict[str, Inner] = {"local": LocalVolumes(encrypted / INNER / "local", resolve_secrets=resolve_secrets)}
    for backend in (CloudBackend(), NasBackend(), JuicefsBackend()):
        root, run = data_root.volumes_of(backend.name), exec_root.programs(backend.name)
        drivers[backend.name] = ServedVolumes(root, run, backend, resolve_secrets)
        root, run = encrypted / INNER / backend.name, exec_root.programs(f"encrypted-{backend.name}")
        below[backend.name] = ServedVolumes(root, run, backend, resolve_secrets)
    runs = exec_root.programs("san"), exec_root.programs("encrypted-san")
    leases = HostLeases(runs[0] / "leases", lambda holder: any(is_writing(run, holder) for run in runs))
    drivers["san"] = SanVolumes(data_root.volumes_of("san"), runs[0], resolve_secrets, leases)
    below["san"] = SanVolumes(encrypted / INNER / "san", runs[1], resolve_secrets, leases)
    drivers["encrypted"] = EncryptedVolumes(encrypted, exec_root.programs("encrypted"), below, resolve_secrets)
    return drivers


def _layers(probes: Probes, data_root: DataRoot) -> LayerDriver:
    kind = probes.layers()
    root = data_root.layers(kind)
    if kind == "vfs":
        return VfsLayers(root)
    return Overlay2Layers(root)


def _runtimes(settings: Settings, probes: Probes, exec_root: ExecRoot) -> tuple[dict[str, Runtime], str, Sequence[str]]:
    """Every runtime that works here by name, the default's name, and what to warn of. A missing runtime stops no
    daemon: images and volumes can still be reached."""
    found: dict[str, Runtime] = {}
    warnings: list[str] = []
    for name, probed in probes.runtimes.items():
        try:
            runtime = OciRuntime(exec_root.runtime, name, probed())
        except Unavailable as error:
            if name == settings.runtime:
                raise
            log.info("runtime %s: %s", name, error)
            warnings.append(error.message)
            continue
        found[runtime.name] = runtime
    default = settings.runtime or next(iter(found), "")
    return found, default, [] if found else warnings


def _runtime_of_plugins(root: Path, name: str, probes: Probes) -> Runtime:
    if not name:
        raise Unavailable("plugins", "no OCI runtime works here", "Install one: apt-get install crun")
    return OciRuntime(root, name, probes.runtimes[name]())


def _network_drivers(settings: Settings, exec_root: ExecRoot) -> dict[str, NetworkDriver]:
    gateway = parse_gateway(settings.bip) if settings.bip else None
    return {
        "bridge": BridgeDriver(settings.bridge_name, exec_root.namespaces, gateway),
        "host": HostDriver(),
        "none": NoneDriver(),
    }


def _daemon_id(journal: Journal) -> str:
    known = journal.load("settings", str).get("id")
    if known is None:
        known = secrets.token_hex(16)
        journal.commit(Put("settings", "id", known))
    return known
