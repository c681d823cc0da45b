"""Both sides of a mirror in one process, joined by a socket pair."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orlop.store.mirror import Mirror
from orlop.store.mirror_receiver import receive
from orlop.store.mirror_worker import MirrorAside

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def mirroring(
    source: Path, target: Path, kind: type[Mirror] | type[MirrorAside] = Mirror, **options: Any
) -> Iterator[Any]:
    """`target` is made when it is not there. What the receiver raises is raised at the end, if nothing else was."""
    target.mkdir(exist_ok=True)
    near, far = socket.socketpair()
    source_fd, target_fd = os.open(source, _DIRECTORY), os.open(target, _DIRECTORY)
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            receive(far, target_fd)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            raised.append(error)

    receiver = threading.Thread(target=serve, name="receiver")
    receiver.start()
    try:
        with kind(source_fd, near, **options) as mirror:
            yield mirror
    finally:
        near.close()
        receiver.join()
        for each in (far.detach(), source_fd, target_fd):
            os.close(each)
    if raised:
        raise raised[0]
