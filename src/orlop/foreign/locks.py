"""Keeping another engine out of its own files: the lock that bbolt takes (flock) when it opens a database."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orlop.errors import Conflict


@contextmanager
def held_databases(engine: str, root: Path, paths: Sequence[Path]) -> Iterator[None]:
    """A shared lock on each of them that is there: a bbolt that is opened for writing has an exclusive one, for as long
    as Docker runs, or while a command of Podman's is at work."""
    with ExitStack() as stack:
        for path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            stack.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                why = f"{engine} is running on it ({path} is locked)"
                raise Conflict(f"data root {root}", why, f"Stop {engine} first") from error
        yield
