"""The data of a volume that is moved: brought pass by pass into another directory by a mirror (store/mirror.py), each
side of which is a process of its own.

Either may come to hang in storage that gives no answer. Whoever waits for them does not: without any progress for a
while the move is given up, so that nobody stands still for long.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orlop.engine.volume_move_patience import Patience
from orlop.engine.volume_move_target import passed_over
from orlop.engine.volume_move_terms import MoveProgress, MoveWish, Phase, Tell, word_of
from orlop.errors import HostFailure, OrlopError, Unsupported
from orlop.store.mirror import MirrorProgress as Done
from orlop.store.mirror import Pass
from orlop.store.mirror_aside import ReceiverAside
from orlop.store.mirror_words import Aspect
from orlop.store.mirror_worker import MirrorAside

T = TypeVar("T")

_MOST_TOLD = 1000


class MoveCopy:
    """Takes the two descriptors over. `scratch` is a directory for notes."""

    def __init__(
        self, subject: str, source_fd: int, target_fd: int, wish: MoveWish, tell: Tell, scratch: Path | None
    ) -> None:
        self._subject = subject
        self._fds = [source_fd, target_fd]
        self.target_fd = target_fd
        self._tell = tell
        self._forgone = wish.may_lose | {Aspect.NANOSECONDS}  # which hardly any storage elsewhere keeps
        self._lacks: frozenset[Aspect] = frozenset()
        self._at = MoveProgress(Phase.COPYING)
        self._ticks = 0
        self._is_closed = False
        self._receiver = ReceiverAside(target_fd)
        # `tell` also where nothing is new: so a client who has gone is noticed.
        self._patience = Patience(subject, self._counted, lambda: self._tell(self._at), self._end)
        self._mirror: MirrorAside | None = None
        self._sides = source_fd, target_fd
        self._scratch = scratch
        self.last = Pass(0)
        self.passes = 0
        self.entries = 0
        self.sent_bytes = 0
        self.lost: tuple[str, ...] = ()

    def bring(self, phase: Phase) -> Pass:
        self.passes += 1
        self._at = MoveProgress(phase, self.passes)
        self.last = self._patiently(lambda: self._begun().bring(), phase)
        self.sent_bytes += self.last.sent_bytes
        return self.last

    def compare(self, phase: Phase) -> None:
        """All of the copy, read from its disk, with what was brought."""
        self._at = MoveProgress(Phase.COMPARING, self.passes)
        checked = self._patiently(lambda: self._begun().verify(), phase)
        self.entries = checked.entries
        self.lost = tuple(sorted(aspect.value for aspect in self._forgone & self._lacks))

    @property
    def left_out(self) -> list[tuple[str, str]]:
        return self.last.missed.entries[:_MOST_TOLD]

    @property
    def left_out_count(self) -> int:
        return self.last.missed.count

    def close(self) -> None:
        """Called again is success. What hangs is left behind."""
        if self._is_closed:
            return
        self._is_closed = True
        self._end()
        self._patience.end()
        for fd in self._fds:
            os.close(fd)

    def _end(self) -> None:
        if self._mirror is not None:
            self._mirror.kill()
        self._receiver.close()

    def _begun(self) -> MirrorAside:
        """In its thread."""
        if self._mirror is None:
            self._mirror = MirrorAside(
                self._sides[0],
                self._receiver.stream,
                self._note,
                scratch=self._scratch,
                forgone=self._forgone,
                passed_over=passed_over(self._sides[0]) | passed_over(self._sides[1]),
            )
            if self._is_closed:
                self._mirror.kill()  # nobody waits any more
            self._lacks = self._mirror.lost()
        return self._mirror

    def _note(self, done: Done) -> None:
        """In the mirror's thread."""
        self._ticks += 1
        phase = Phase.COMPARING if done.stage == "verify" else self._at.phase
        self._at = MoveProgress(phase, self.passes, done.entries, done.read_bytes)

    def _counted(self) -> str:
        sender = self._mirror.counted() if self._mirror is not None else ""
        return f"{self._ticks} {sender} {self._receiver.counted()}"

    def _patiently(self, call: Callable[[], T], phase: Phase) -> T:
        ended = self._patience.await_end(call, is_still=phase is not Phase.COPYING)
        try:
            return ended.result()
        except (OrlopError, OSError) as error:
            raise self._told(error) from error

    def _told(self, error: OrlopError | OSError) -> OrlopError:
        if isinstance(error, Unsupported):
            words = ",".join(sorted(word_of(aspect) for aspect in self._lacks - self._forgone))
            hint = f"Choose storage that keeps them, or let them go: --lose {words}"
            return Unsupported(self._subject, f"{error.subject}: {error.why}", hint)
        return _about(self._subject, error)


def _about(subject: str, error: OrlopError | OSError) -> OrlopError:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Give the target a larger size, or choose another; the volume is what it was"
        return HostFailure(subject, f"{error.strerror or error}{where}", hint)
    kind = HostFailure if isinstance(error, HostFailure) else type(error)
    return kind(subject, f"{error.subject}: {error.why}", error.hint)
