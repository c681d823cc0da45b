"""Reading containers' logs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogRecord:
    at_ns: int
    stream: int  # 1 stdout, 2 stderr
    data: bytes  # with its newline; a partial line has none


class LogStream:
    """A position in a container's log. Not thread-safe."""

    def read(self, most: int = 1000) -> Sequence[LogRecord]:
        """The next records; empty when all that was written so far has been read."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Readable (poll) when more may have been written: an inotify descriptor, emptied by `read`."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Logs:
    def open(
        self,
        reference: str,
        stdout: bool = True,
        stderr: bool = True,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int | None = None,
    ) -> LogStream:
        """`tail`: the last so many lines, None = all. Raises NoSuchContainer."""
        raise NotImplementedError
