"""The only speller of names on disk. docs/state-on-disk.md draws the tree."""

from pathlib import Path

from orlop.model.value import dataclass

FORMAT = 1

# Of drivers that are lent to other engines (`orlop plugin serve`), a folder each.
LENT_ROOTS = Path("/var/lib/orlop-plugins")
LENT_EXEC_ROOTS = Path("/run/orlop-plugins")
PLUGIN_SOCKETS = Path("/run/docker/plugins")


@dataclass(frozen=True, slots=True)
class DataRoot:
    """What survives a reboot."""

    path: Path

    @property
    def own(self) -> Path:
        return self.path / "orlop"

    @property
    def format(self) -> Path:
        return self.own / "FORMAT"

    @property
    def lock(self) -> Path:
        return self.own / "lock"

    @property
    def lent(self) -> Path:
        """Names the driver where the root's volumes are for other engines (`orlop plugin serve`)."""
        return self.own / "lent"

    @property
    def journal(self) -> Path:
        return self.own / "journal.db"

    @property
    def recipes(self) -> Path:
        """How each layer's tar is put together again, by layer id."""
        return self.own / "recipes"

    @property
    def cluster(self) -> Path:
        """What the cluster agreed on, as this host last knew."""
        return self.own / "cluster.json"

    @property
    def secrets(self) -> Path:
        """What options of volumes name, encrypted."""
        return self.own / "secrets"

    @property
    def incoming(self) -> Path:
        """Uploads and half-made things; emptied at start."""
        return self.own / "incoming"

    @property
    def set_aside(self) -> Path:
        """What `orlop recover` found and could not use: broken journals, layers and containers nobody knows."""
        return self.own / "set-aside"

    @property
    def volumes(self) -> Path:
        return self.path / "volumes"

    def volumes_of(self, driver: str) -> Path:
        """Volumes of a driver whose storage is elsewhere: their records, marks and caches."""
        return self.path / "drivers" / driver

    def installed(self, driver: str) -> Path:
        """What a driver that is installed as a package of its own keeps: apart, for one of that name may be built in
        some day."""
        return self.path / "installed-drivers" / driver

    @property
    def plugins(self) -> Path:
        """Managed plugins, a folder each."""
        return self.path / "plugins"

    def plugin(self, plugin_id: str) -> Path:
        return self.plugins / plugin_id

    @property
    def plugin_blobs(self) -> Path:
        """What plugins came as: configurations, packed layers and manifests by digest."""
        return self.plugins / "blobs"

    @property
    def kept_plugins(self) -> Path:
        """Folders of plugins that were removed, or root file systems that were replaced, while volumes needed them."""
        return self.plugins / "kept"

    @property
    def containers(self) -> Path:
        return self.path / "containers"

    def layers(self, driver: str) -> Path:
        return self.path / driver

    def container(self, container_id: str) -> Path:
        return self.containers / container_id


@dataclass(frozen=True, slots=True)
class ExecRoot:
    """What a reboot clears: sockets, pid files, namespaces, views."""

    path: Path

    @property
    def namespaces(self) -> Path:
        return self.path / "netns"

    @property
    def views(self) -> Path:
        """Short-lived mounts of stopped containers, for cp."""
        return self.path / "views"

    @property
    def leashes(self) -> Path:
        """Until when this host may write which volumes of the cluster (cluster/writing_state.py)."""
        return self.path / "leashes"

    @property
    def subpaths(self) -> Path:
        """Mounts of parts of volumes, by use."""
        return self.path / "subpaths"

    @property
    def plugins(self) -> Path:
        """What other people's volume plugins were told of, a directory a plugin."""
        return self.path / "plugins"

    @property
    def managed(self) -> Path:
        """Of managed plugins: their processes (runtime), their sockets, and what they were told of (uses)."""
        return self.path / "managed"

    @property
    def mounts(self) -> Path:
        """Mounts made for a container that is being started."""
        return self.path / "mounts"

    def programs(self, driver: str) -> Path:
        """Programs that mount volumes of a driver, a folder each."""
        return self.path / "programs" / driver

    def installed(self, driver: str) -> Path:
        """What an installed driver keeps until the next reboot."""
        return self.path / "installed-drivers" / driver

    @property
    def lent(self) -> Path:
        """What other engines have mounted (`orlop plugin serve`), a file each."""
        return self.path / "lent"

    @property
    def runtime(self) -> Path:
        """The OCI runtime's and conmon's state."""
        return self.path / "runtime"
