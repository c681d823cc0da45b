"""What Docker has and Orlop does not: answered as clients expect from a daemon that does not use it."""

from orlop.docker.messages import Reply, Request, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.errors import Unavailable, Unsupported

routes = Routes()

_NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
SWARM_NOUNS = ("swarm", "nodes", "services", "tasks", "secrets", "configs")


@routes.get("/distribution/{name}/json")
def inspect_distribution(service: Service, request: Request) -> Reply:
    raise Unsupported("registries", "are not supported yet", "Bring images in with docker load or docker import")


@routes.post("/build")
def build(service: Service, request: Request) -> Reply:
    raise Unsupported("build", "building images is not supported", "Build with buildah or podman, then docker load")


@routes.post("/build/prune")
def prune_builds(service: Service, request: Request) -> Reply:
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


@routes.get("/containers/{id}/attach/ws")
def attach_websocket(service: Service, request: Request) -> Reply:
    raise Unsupported("attach over a websocket", "is not supported", "Use POST /containers/{id}/attach")


@routes.get("/containers/{id}/checkpoints")
def checkpoints(service: Service, request: Request) -> Reply:
    raise Unsupported("checkpoints", "are not supported")


def no_swarm(service: Service, request: Request) -> Reply:
    raise Unavailable("", _NOT_A_MANAGER)


for _noun in SWARM_NOUNS:
    for _method in (routes.get, routes.post):
        _method(f"/{_noun}")(no_swarm)
        _method(f"/{_noun}/{{rest}}")(no_swarm)
    routes.delete(f"/{_noun}/{{rest}}")(no_swarm)
