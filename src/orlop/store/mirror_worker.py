"""The sending side of a mirror in a child process, so that the daemon's threads are not held up, and so that only the
child hangs where the source does."""

import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orlop.archive.child_process import Attendant, Tasks, say, serve_each
from orlop.store.mirror import Mirror, MirrorProgress, Progress
from orlop.store.mirror_check import Checked
from orlop.store.mirror_pass import Pass
from orlop.store.mirror_words import Aspect, Severed
from orlop.store.trees import Missed


class MirrorAside:
    """As `Mirror`, which see. Not thread-safe, but for `counted` and `kill`."""

    def __init__(
        self,
        source_fd: int,
        stream: socket.socket,
        progress: Progress | None = None,
        *,
        scratch: Path | None = None,
        forgone: Collection[Aspect] = (),
        passed_over: Collection[str] = (),
    ) -> None:
        """Both descriptors stay the caller's. The stream is the child's to use from here on."""
        self._progress = progress
        fds = (source_fd, stream.fileno())
        self._child = Attendant(__name__, fds)
        self._is_closed = False
        try:
            self._ask(
                "begin",
                source=source_fd,
                stream=stream.fileno(),
                scratch=str(scratch) if scratch is not None else None,
                forgone=sorted(forgone),
                passed_over=sorted(passed_over),
            )
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.end()
        else:
            self.kill()

    def lost(self) -> frozenset[Aspect]:
        return frozenset(Aspect(each) for each in self._ask("lost")["lost"])

    def bring(self) -> Pass:
        found = self._ask("bring")
        missed = found.pop("missed")
        told = Missed(missed["count"], [(path, why) for path, why in missed["entries"]])
        return Pass(**found, missed=told)

    def verify(self) -> Checked:
        return Checked(**self._ask("verify"))

    def end(self) -> None:
        try:
            self._ask("end")
        finally:
            self.kill()

    def counted(self) -> str:
        """Changes as long as it gets on."""
        with suppress(OSError):
            return Path(f"/proc/{self._child.pid}/io").read_text()
        return ""

    def kill(self) -> None:
        """It ends, whatever it is doing, and is not waited for: it may hang where even SIGKILL has to wait."""
        if not self._is_closed:
            self._is_closed = True
            self._child.kill()

    def _ask(self, task: str, **more: object) -> dict[str, Any]:
        found = self._child.ask({"task": task, **more}, self._told)
        if "failed" in found:
            raise OSError(*found["failed"])
        if "severed" in found:
            raise Severed(*found["severed"])
        return found

    def _told(self, numbers: dict[str, Any]) -> None:
        if self._progress is not None:
            self._progress(MirrorProgress(**numbers))


def main(parent: int) -> None:
    """The child's side."""
    sender = _Sender()
    tasks: Tasks = {
        "begin": sender.begin,
        "lost": sender.lost,
        "bring": sender.bring,
        "verify": sender.verify,
        "end": sender.end,
    }
    serve_each(parent, tasks)


class _Sender:
    def __init__(self) -> None:
        self._mirror: Mirror | None = None

    def begin(
        self, source: int, stream: int, scratch: str | None, forgone: list[str], passed_over: list[str]
    ) -> dict[str, object]:
        self._mirror = Mirror(
            source,
            socket.socket(fileno=stream),
            lambda done: say({"progress": asdict(done)}),
            scratch=Path(scratch) if scratch is not None else None,
            forgone=[Aspect(each) for each in forgone],
            passed_over=passed_over,
        )
        return {}

    def lost(self) -> dict[str, object]:
        return _told_apart(lambda mirror: {"lost": sorted(mirror.lost())}, self._mirror)

    def bring(self) -> dict[str, object]:
        return _told_apart(lambda mirror: _plain(mirror.bring()), self._mirror)

    def verify(self) -> dict[str, object]:
        return _told_apart(lambda mirror: asdict(mirror.verify()), self._mirror)

    def end(self) -> dict[str, object]:
        return _told_apart(_end, self._mirror)


def _plain(result: Pass) -> dict[str, object]:
    missed = {"count": result.missed.count, "entries": result.missed.entries}
    return {**asdict(result), "missed": missed}


def _end(mirror: Mirror) -> dict[str, object]:
    mirror.end()
    return {}


def _told_apart(work: Callable[[Mirror], dict[str, object]], mirror: Mirror | None) -> dict[str, object]:
    """A full disk, and another side that has gone, are told apart from other trouble."""
    assert mirror is not None
    try:
        return work(mirror)
    except Severed as error:
        return {"severed": [error.subject, error.why, error.hint]}
    except OSError as error:
        return {"failed": [error.errno, error.strerror or str(error), error.filename]}
