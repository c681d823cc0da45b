"""What the client of a long call is told, to its end."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orlop.docker.messages import Request, Stream
from orlop.docker.working import Work, reply_of
from orlop.errors import Conflict

Tell = Callable[[int], None]


class Heard:
    """What was written; `first` is set by the first line."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.first = threading.Event()

    async def write(self, data: bytes) -> None:
        self.lines.append(json.loads(data))
        self.first.set()


def told(ending: Callable[[], str]) -> list[dict[str, Any]]:
    """Lines of a call that gets on once, and then ends like that."""
    heard = Heard()

    def call(tell: Tell) -> str:
        tell(1)
        assert heard.first.wait(10)
        return ending()

    async def play() -> None:
        loop = asyncio.get_running_loop()
        service: Any = SimpleNamespace(long=lambda call, *args: loop.run_in_executor(None, call, *args))
        body: Any = None
        request = Request("POST", "/orlop/v1/volumes/one/copy", "progress=1", {}, body)
        work: Work[str, int] = Work(service, call)
        reply = await reply_of(work, request, lambda found: {"Name": found}, lambda done: {"Done": done}, 201)
        assert isinstance(reply, Stream)
        await reply.produce(heard)

    asyncio.run(play())
    return heard.lines


def failing(error: Exception) -> Callable[[], str]:
    def fail() -> str:
        raise error

    return fail


def test_how_far_it_is_and_what_came_of_it() -> None:
    assert told(lambda: "two") == [{"Done": 1}, {"Result": {"Name": "two"}}]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Conflict("copy one", "it is being moved"), "copy one: it is being moved"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data"), "No space left on device (/data)"),
        (AssertionError("a defect"), "internal error"),
    ],
)
def test_every_error_is_told_and_none_only_cuts_the_line(error: Exception, says: str) -> None:
    progress, last = told(failing(error))
    assert progress == {"Done": 1}
    assert says in last["error"]
