"""What goes over the line between two hosts while a volume moves: passes until little is new, the rest once nobody can
write any more, and a comparison of all of it. Either side's work is done by a process of its own."""

import errno
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from orlop.cluster.contract import Line
from orlop.engine.volume_move_patience import Patience
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.model.value import dataclass
from orlop.store.mirror import MirrorProgress, Pass
from orlop.store.mirror_aside import ReceiverAside
from orlop.store.mirror_words import Severed
from orlop.store.mirror_worker import MirrorAside

T = TypeVar("T")

Told = Callable[[str, int, int], None]  # the step, entries and bytes so far

_MOST_PASSES = 8
_LITTLE_BYTES = 16 << 20
_LAST_TRIES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Sent:
    entries: int
    sent_bytes: int
    passes: int
    left_out: tuple[str, ...]


class Mirroring:
    """The source's side."""

    def __init__(self, line: Line, fd: int, told: Told, subject: str, scratch: Path | None) -> None:
        self._line = line
        self._fd = fd
        self._subject = subject
        self._scratch = scratch
        self._at = ("pass 1", 0, 0)
        self._passes: list[Pass] = []
        self._is_still = self._is_over = False
        self._mirror: MirrorAside | None = None
        # `told` also where nothing is new: so a client who has gone is noticed.
        self._patience = Patience(subject, self._counted, lambda: told(*self._at), self._stop)

    def bring_most(self) -> None:
        """While it is in use. It is compared, too: what has not changed then need not be while nobody may use it."""
        for _ in range(_MOST_PASSES):
            done = self._bring()
            before = self._passes[-2].sent_bytes if len(self._passes) > 1 else 0
            if done.sent_bytes <= _LITTLE_BYTES or (before and done.sent_bytes > before // 2):
                break
        self._patiently(MirrorAside.verify)

    def bring_rest(self) -> Sent:
        """Nobody can write to it any more. Raises HostFailure where somebody does all the same, or where what is there
        is not what is here."""
        self._is_still = True
        for _ in range(_LAST_TRIES):
            if not self._bring().unsettled:
                break
        else:
            why = "somebody who is no container of this daemon writes to it all the time"
            raise HostFailure(self._subject, why, "Find out who: fuser -v -m, on its data directory")
        self._patiently(MirrorAside.verify)
        last = self._passes[-1]
        left_out = tuple(f"{path}: {why}" for path, why in last.missed.entries)
        return Sent(last.entries, sum(each.sent_bytes for each in self._passes), len(self._passes), left_out)

    def _bring(self) -> Pass:
        done = self._patiently(MirrorAside.bring)
        self._passes.append(done)
        return done

    def end(self) -> None:
        """All is there."""
        self._patiently(MirrorAside.end)

    def close(self) -> None:
        """What hangs is left behind."""
        self._is_over = True
        if self._mirror is not None:
            self._mirror.kill()
        self._patience.end()

    def _patiently(self, work: Callable[[MirrorAside], T]) -> T:
        return self._patience.await_end(lambda: work(self._begun()), self._is_still).result()

    def _begun(self) -> MirrorAside:
        """In its thread."""
        if self._mirror is None:
            self._mirror = MirrorAside(self._fd, self._line.stream, self._note, scratch=self._scratch)
            if self._is_over:
                self._mirror.kill()  # nobody waits any more
        return self._mirror

    def _note(self, done: MirrorProgress) -> None:
        """In the mirror's thread."""
        is_copy = done.stage == "copy"
        step = f"pass {done.number}" if is_copy else done.stage
        self._at = step, done.entries, done.sent_bytes if is_copy else done.read_bytes

    def _counted(self) -> str:
        sender = self._mirror.counted() if self._mirror is not None else ""
        return f"{self._line.counted()} {sender}"

    def _stop(self) -> None:
        if self._mirror is not None:
            self._mirror.kill()
        self._line.cut()


@contextmanager
def mirror_to(line: Line, fd: int, told: Told, subject: str, scratch: Path | None = None) -> Iterator[Mirroring]:
    """Over a line to whoever receives it. Notes about the tree, as large as its names, are kept in `scratch`. Raises
    Unavailable where the storage of either side gives no answer any more."""
    mirroring = Mirroring(line, fd, told, subject, scratch)
    with _told_apart(line, subject), closing(mirroring):
        yield mirroring
        mirroring.end()


def receive_from(line: Line, fd: int, subject: str) -> None:
    """The target's side, until the source says that it is all."""
    with closing(ReceiverAside(fd, line.stream)) as receiver:
        line.vouch(receiver.counted)
        if not receiver.wait():
            why = f"the other node broke off: {line.failure}" if line.failure else "the copy was not finished"
            raise Unavailable(subject, why, "The other node's log says more")


@contextmanager
def _told_apart(line: Line, subject: str) -> Iterator[None]:
    """Where the line broke, that is what is told."""
    try:
        yield
    except Severed as error:
        why = f"the other node broke off: {line.failure}" if line.failure else error.why
        raise Unavailable(subject, why, "Look at that node's log, and try again") from error
    except OrlopError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        hint = "Make room on the node that it is to go to" if error.errno in _FULL else ""
        raise HostFailure(subject, f"{error.strerror or error}{where}", hint) from error
