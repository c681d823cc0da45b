"""Docker's volume plugin protocol v1, the side that serves: an Orlop driver for Docker and Podman.

Each call is a POST of one JSON object to /Plugin.Activate or /VolumeDriver.<Call>. What fails is told as {"Err": text}
with a status that is not 200, which both engines understand; a volume that is certainly not there is a Get without
volume and without error, for engines forget a volume whose driver says it is gone. So nothing but the handshake is
answered before the driver knows its volumes: the calls wait.

What there is, is known: Get and List are answered at once, and what they said is kept until it is not true any more.
Calls that ask storage run in threads, for each volume one after the other, so that slow storage holds up only its own
users. An engine that gives up waiting for a mount (Podman does after five seconds) finds it ready when it tries again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from orlop.docker.faults import describe_fault
from orlop.docker.front import Front
from orlop.docker.messages import Reply, Request, Response, json_response
from orlop.docker.pools import Pools
from orlop.docker.wire.decoding import decode_json
from orlop.docker.wire.plugin import Create, Mount, Named, Volume
from orlop.docker.wire.times import render_seconds
from orlop.errors import Malformed, NotFound
from orlop.model.lent import LentVolume

if TYPE_CHECKING:
    from orlop.engine.lending import Lending

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
MAX_REQUEST_BYTES = 1 << 20
SOCKET_MODE = 0o600
PENDING_SECONDS = 0.5

_MOST_KEPT, _MOST_KEPT_BYTES = 1000, 512  # answers, and the length of a call that has one kept
_GET, _LIST = "/VolumeDriver.Get", "/VolumeDriver.List"

T = TypeVar("T")
_Call = Callable[["PluginServer", bytes], Awaitable[Mapping[str, Any]]]


class PluginServer(Front):
    """`lending` is given by `provide`, once it is ready."""

    def __init__(self, socket: str) -> None:
        super().__init__([f"unix://{socket}"], "", SOCKET_MODE)
        self._pools = Pools()
        self._lending: Lending | None = None
        self._kept: dict[tuple[str, bytes], Response] = {}
        self._kept_at: tuple[int, ...] = ()

    def provide(self, lending: "Lending") -> None:
        """From any thread."""
        self._lending = lending
        self.note_ready()

    def close(self) -> None:
        if self._lending is not None:
            self._lending.close()
        self._pools.close()

    def answer(self, request: Request) -> Reply | Awaitable[Reply]:
        return self._answer_at_once(request) or self._answer(request)

    def _answer_at_once(self, request: Request) -> Reply | None:
        """What can be said without waiting for anything; None where something has to be waited for, or is wrong."""
        path, lending = request.path, self._lending
        if lending is None or path not in (_GET, _LIST) or request.method != "POST":
            return None
        raw = request.body.whole()
        if raw is None or len(raw) > _MOST_KEPT_BYTES:
            return None
        if self._kept_at != (now := lending.changes):
            self._kept, self._kept_at = {}, now
        asked = (path, raw if path == _GET else b"")
        kept = self._kept.get(asked)
        if kept is None:
            kept = _told(lending, asked)
            if kept is not None and len(self._kept) < _MOST_KEPT:
                self._kept[asked] = kept
        return kept

    async def _answer(self, request: Request) -> Reply:
        what = f"{request.method} {request.path}"
        call = CALLS.get(request.path) if request.method == "POST" else None
        try:
            if call is None:
                raise NotFound(what, "no such call of a volume plugin")
            raw = await request.body.read_all(MAX_REQUEST_BYTES)
            return _json(await call(self, raw))
        except Exception as error:  # noqa: BLE001 - faults.py tells them apart
            status, text = describe_fault(error, what)
            log.info("%s: %s", what, text)
            return _json({"Err": text}, status if status in (400, 408, 413) else 404 if call is None else 500)

    # The calls

    async def activate(self, raw: bytes) -> Mapping[str, Any]:
        return {"Implements": ["VolumeDriver"]}

    async def capabilities(self, raw: bytes) -> Mapping[str, Any]:
        return {"Capabilities": {"Scope": (await self._ready()).scope}}

    async def create(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Create)
        lending = await self._ready()
        await self._finished(lending.create, wish.Name, wish.Opts or {})
        return {"Err": ""}

    async def remove(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Named)
        lending = await self._ready()
        await self._finished(lending.remove, wish.Name)
        return {"Err": ""}

    async def mount(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Mount)
        lending = await self._ready()
        mounting = self._pools.quick(lending.mount, wish.Name, wish.ID)
        try:
            return {"Mountpoint": await asyncio.shield(mounting), "Err": ""}
        except asyncio.CancelledError:
            mounting.add_done_callback(lambda done: self._mounted_too_late(done, lending, wish))
            raise

    def _mounted_too_late(self, done: "asyncio.Future[str]", lending: "Lending", wish: Mount) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._pools.quick(lending.unanswered, wish.Name, wish.ID)
        else:
            log.warning("volume %s was not mounted, and nobody waits for it any more: %s", wish.Name, error)

    async def unmount(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Mount)
        lending = await self._ready()
        await self._finished(lending.unmount, wish.Name, wish.ID)
        return {"Err": ""}

    async def path(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Named)
        found = (await self._ready()).find(_required(wish.Name))
        if found is None:
            raise NotFound(f"path of {wish.Name}", "no such volume")
        return {"Mountpoint": found.mountpoint, "Err": ""}

    async def get(self, raw: bytes) -> Mapping[str, Any]:
        wish = decode_object(raw, Named)
        lending = await self._ready()
        found = lending.find(_required(wish.Name))
        if found is None:
            return {"Volume": None, "Err": ""}
        status = {**found.status, **await self._pending(lending, found)}
        return _render_one(replace(found, status=status))

    async def _pending(self, lending: "Lending", volume: LentVolume) -> Mapping[str, object]:
        """It is only for people: nobody waits for it while the storage is busy."""
        if not _may_be_pending(lending, volume):
            return {}
        try:
            asked = self._pools.quick(lending.pending, volume.name)
            pending = await asyncio.wait_for(asyncio.shield(asked), PENDING_SECONDS)
        except TimeoutError:
            return {}
        if pending is None:
            return {}
        why = {"Why": pending.why} if pending.why else {}
        return {"Pending": {"Files": pending.files, "SizeBytes": pending.size_bytes, **why}}

    async def list_volumes(self, raw: bytes) -> Mapping[str, Any]:
        return _render_list((await self._ready()).list_volumes())

    async def _ready(self) -> "Lending":
        await self.ready.wait()
        assert self._lending is not None
        return self._lending

    async def _finished(self, call: Callable[..., T], *arguments: object) -> T:
        """A call that goes on to its end also when nobody waits for its answer any more."""
        return await asyncio.shield(self._pools.quick(call, *arguments))


CALLS: dict[str, _Call] = {
    "/Plugin.Activate": PluginServer.activate,
    "/VolumeDriver.Capabilities": PluginServer.capabilities,
    "/VolumeDriver.Create": PluginServer.create,
    "/VolumeDriver.Remove": PluginServer.remove,
    "/VolumeDriver.Mount": PluginServer.mount,
    "/VolumeDriver.Unmount": PluginServer.unmount,
    "/VolumeDriver.Path": PluginServer.path,
    _GET: PluginServer.get,
    _LIST: PluginServer.list_volumes,
}


def _told(lending: "Lending", asked: tuple[str, bytes]) -> Response | None:
    path, raw = asked
    if path == _LIST:
        return _json(_render_list(lending.list_volumes()))
    try:
        name = decode_object(raw, Named).Name
    except Malformed:
        return None
    found = lending.find(name) if name else None
    if found is None or _may_be_pending(lending, found):
        return None
    return _json(_render_one(found))


def _may_be_pending(lending: "Lending", volume: LentVolume) -> bool:
    return volume.is_mounted and lending.uploads


def decode_object(raw: bytes, kind: type[T]) -> T:
    """One JSON object. Raises Malformed: also for an empty body, as Docker sends it when it repeats a call."""
    if not raw.strip():
        raise Malformed("", "the request has no body", "It may have been cut off: try again")
    if not raw.lstrip().startswith(b"{"):
        raise Malformed("", "the request's body is no JSON object")
    return decode_json(raw, kind)


def _required(name: str) -> str:
    if not name:
        raise Malformed("", "the request names no volume", "It may have been cut off: try again")
    return name


def _render(volume: LentVolume) -> Volume:
    created = render_seconds(volume.created_at_ns) if volume.created_at_ns else ""
    return Volume(volume.name, volume.mountpoint, created, dict(volume.status))


def _render_one(volume: LentVolume) -> Mapping[str, Any]:
    return {"Volume": _render(volume), "Err": ""}


def _render_list(volumes: Sequence[LentVolume]) -> Mapping[str, Any]:
    return {"Volumes": [_render(volume) for volume in volumes], "Err": ""}


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    reply = json_response(value, status)
    reply.content_type = CONTENT_TYPE
    return reply
