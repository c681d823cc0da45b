"""What routes work with: the engine, the pools, and the spool for uploads."""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from orlop.docker.kept import KeptReplies
from orlop.docker.messages import Request
from orlop.docker.pools import Pools
from orlop.errors import OrlopError, Unavailable
from orlop.model.container import Container

if TYPE_CHECKING:
    from orlop.engine.engine import Engine
    from orlop.engine.volume_reports import VolumeReport
    from orlop.model.volume import Volume

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

SPOOL_BATCH_BYTES = 1 << 20
IOV_MAX = 1024  # pieces that the kernel takes in one call
MAX_LAYER_FACTS = 2000


class Service:
    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self._engine: Engine | None = None
        self.events_listening = 0
        self.layer_driver = ""
        self.runtime = ""
        self.runtime_version = ""
        self._layer_facts: dict[str, Mapping[str, str]] = {}
        self.listings: KeptReplies[Hashable] = KeptReplies(10)
        self.looks: dict[str, asyncio.Future[Volume]] = {}  # at volumes, under way, by their ids; the loop's alone
        self.inspects: KeptReplies[VolumeReport] = KeptReplies(1000)  # who polls more waits for other things

    @property
    def ready(self) -> bool:
        return self._engine is not None

    def set_engine(self, engine: "Engine") -> None:
        """Blocks: what does not change while the daemon runs is asked for once, here."""
        info = engine.system.info()
        self.layer_driver = info.layer_driver
        self.runtime = info.runtime
        self.runtime_version = info.runtimes.get(info.runtime, "")
        self._engine = engine

    @property
    def engine(self) -> "Engine":
        if self._engine is None:
            raise Unavailable("", "the daemon is still starting", "Try again in a moment")
        return self._engine

    def layer_facts(self, container: Container) -> Mapping[str, str] | None:
        """Where a container's layers are; they never change, so the disk is asked once."""
        facts = self._layer_facts.get(container.layer_id)
        if facts is None:
            if len(self._layer_facts) >= MAX_LAYER_FACTS:
                self._layer_facts.clear()
            try:
                facts = self._layer_facts[container.layer_id] = self.engine.containers.describe_layer(container)
            except (OrlopError, OSError) as error:
                log.warning("the layers of container %s cannot be described: %s", container.id, error)
                return None
        return facts

    def quick(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return self.pools.quick(call, *args, **kwargs)

    def long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        return self.pools.long(call, *args, **kwargs)

    @asynccontextmanager
    async def spooled(self, request: Request) -> "AsyncIterator[Path]":
        """The request's body as a file, for as long as the block runs. Never held in memory as a whole."""
        path = self.engine.data_root.incoming / f"upload-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = await self.quick(os.open, path, flags, 0o600)
        try:
            try:
                await self._fill(request, descriptor)
            finally:
                os.close(descriptor)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _fill(self, request: Request, descriptor: int) -> None:
        pieces: list[bytes] = []
        size = 0
        while arrived := await request.body.read_pieces():
            pieces += arrived
            size += sum(map(len, arrived))
            if size >= SPOOL_BATCH_BYTES:
                await finished(self.long(_write_all, descriptor, pieces))
                pieces, size = [], 0
        if pieces:
            await finished(self.long(_write_all, descriptor, pieces))

    def close(self) -> None:
        self._engine = None


async def finished(future: "asyncio.Future[T]") -> T:
    """Wait for a call in a pool; when the waiting is cancelled, still wait until the call has ended, because it uses
    what the caller is about to let go of."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise


def _write_all(descriptor: int, pieces: list[bytes]) -> None:
    while pieces:
        some, pieces = pieces[:IOV_MAX], pieces[IOV_MAX:]
        rest = sum(map(len, some)) - os.writev(descriptor, some)
        if rest:  # a full disk says so at the next attempt
            view = memoryview(b"".join(some))[-rest:]
            while view:
                view = view[os.write(descriptor, view) :]
