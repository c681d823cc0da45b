"""The engine as the edge sees it: one object a noun, put together by orlop.daemon.assemble."""

from orlop.engine.archives import Archives
from orlop.engine.containers import Containers
from orlop.engine.disk_usage import DiskUsages
from orlop.engine.events import Events
from orlop.engine.images import Images
from orlop.engine.logs import Logs
from orlop.engine.networks import Networks
from orlop.engine.nodes import Nodes
from orlop.engine.plugins import Plugins
from orlop.engine.secrets import Secrets
from orlop.engine.sessions import Sessions
from orlop.engine.system import System
from orlop.engine.volume_previews import VolumePreviews
from orlop.engine.volume_reports import VolumeReports
from orlop.engine.volume_trees import VolumeTrees
from orlop.engine.volumes import Volumes
from orlop.model.value import dataclass
from orlop.store.paths import DataRoot


@dataclass(frozen=True, slots=True)
class Engine:
    containers: Containers
    images: Images
    volumes: Volumes
    networks: Networks
    sessions: Sessions
    logs: Logs
    archives: Archives
    system: System
    disk_usage: DiskUsages
    volume_reports: VolumeReports
    volume_previews: VolumePreviews
    volume_trees: VolumeTrees
    secrets: Secrets
    nodes: Nodes
    plugins: Plugins
    events: Events
    data_root: DataRoot  # where the edge spools uploads: data_root.incoming
