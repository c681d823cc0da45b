"""The hosts of the cluster, and where its volumes are used."""

from collections.abc import Sequence

from orlop.engine.volume_shared import SharedVolumes
from orlop.errors import NoSuchVolume
from orlop.model.cluster import GlobalUse, GlobalVolume, Node
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Whereabouts:
    volume: GlobalVolume
    uses: Sequence[GlobalUse]
    is_hidden: bool = False  # on this host the name means another volume, its own


class Nodes:
    def __init__(self, shared: SharedVolumes) -> None:
        self._shared = shared

    def list_nodes(self) -> tuple[Sequence[Node], Sequence[str]]:
        """By name, and warnings. Raises Unavailable on a host that is alone."""
        cluster = self._shared.required("list nodes")
        return cluster.nodes(), cluster.warnings()

    def remove(self, name: str) -> None:
        """One that is gone for good, and its uses. Raises NotFound, Conflict while it is alive, Unavailable."""
        self._shared.required(f"remove node {name}").remove_node(name)

    def where(self, name: str) -> Whereabouts:
        """Raises NoSuchVolume, Unavailable on a host that is alone."""
        cluster = self._shared.required(f"volume {name}")
        found = cluster.find(name)
        if found is None:
            raise NoSuchVolume(name)
        is_hidden = any(volume.name == name for volume, _ in self._shared.hidden())
        return Whereabouts(found, sorted(cluster.uses(found.id), key=lambda use: (use.node, use.container)), is_hidden)
