"""Bring a directory to another place and keep it there as it is here, while others write to it: the side that has it.

    Mirror(source_fd, stream)     the other side is `receive(stream, target_fd)` at the other end of the stream
      bring()                     one pass: what is new since the last one
      verify()                    the other side reads all its bytes again, and everything is compared
      end()

Each pass brings what has changed, so each takes less time than the one before; a last one, while nobody writes, leaves
nothing out. What passes between the two is in mirror_words.py, when a file needs no other look in mirror_moments.py.
Only what is new of large files is sent, and what was renamed is renamed there.

Besides bytes: owners, modes, times of change, extended attributes, access control lists, hard links, holes, symbolic
links, devices, fifos. Sockets, and what is mounted below, are left out and named.
"""

import os
import sqlite3
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from orlop.errors import HostFailure
from orlop.model.value import dataclass
from orlop.store.mirror_check import Check, Checked
from orlop.store.mirror_content import Unreadable
from orlop.store.mirror_index import Index
from orlop.store.mirror_kept import Kept
from orlop.store.mirror_pass import Pass, Walk
from orlop.store.mirror_receiver import receive
from orlop.store.mirror_words import (
    Abilities,
    Aspect,
    Bye,
    Done,
    Failed,
    Flush,
    Found,
    Hello,
    Misspoken,
    ReceiverWord,
    Seen,
    Severed,
    Stream,
    Wire,
    Working,
)

__all__ = ["Aspect", "Checked", "Mirror", "MirrorProgress", "Pass", "Progress", "receive"]

_SUBJECT = "copying the directory"
_REPORT_ENTRIES = 256
_REPORT_BYTES = 16 << 20
_NO_ANSWER = "the other side did not answer what it was asked"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MirrorProgress:
    stage: str  # "copy" or "verify"
    number: int  # of the pass
    entries: int
    read_bytes: int
    sent_bytes: int


Progress = Callable[[MirrorProgress], None]  # may raise, to end the work


class _Stopped(Exception):
    """By what `progress` raised."""


class _FarFailure(Exception):
    """Of the receiver."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed)
        self._failed = failed

    def as_raised(self) -> Exception:
        failed = self._failed
        if failed.errno:
            return OSError(failed.errno, failed.why, os.fsdecode(failed.path) or None)
        return HostFailure(_SUBJECT, failed.why)


class Mirror:
    """Not thread-safe. After an error it is of no use any more. Raises, where nothing else is said:

    OSError      a call on the source failed, or one at the other side (a full disk is ENOSPC), with the path below the
                 top as its file name
    Unsupported  the other side cannot keep what an entry has, and nobody forwent it
    Severed      (a HostFailure) the other side has gone
    """

    def __init__(
        self,
        source_fd: int,
        stream: Stream,
        progress: Progress | None = None,
        *,
        scratch: Path | None = None,
        forgone: Collection[Aspect] = (),
        passed_over: Collection[str] = (),
    ) -> None:
        """The directory stays the caller's, and so does the stream. `scratch` is where notes of the size of the tree's
        names are kept meanwhile. `forgone` is what may be lost where the other side cannot keep it. Entries of the
        top that are `passed_over` are neither brought nor compared."""
        self._source_fd = source_fd
        self._wire = Wire(stream, ReceiverWord, _SUBJECT)
        self._progress = progress
        self._forgone = frozenset(forgone)
        self._passed_over = frozenset(name.encode(errors="surrogateescape") for name in passed_over)
        self._index = self._guarded(lambda: Index(scratch))
        self._abilities: Abilities | None = None
        self._number = 0
        self._reported = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.end()
        else:
            self._index.close()

    def lost(self) -> frozenset[Aspect]:
        """What the other side's file system cannot keep."""
        return frozenset(self._guarded(self._greet).lost)

    def bring(self) -> Pass:
        """What is new since the last pass. Where nobody has written since before it began, nothing is unsettled."""
        return self._guarded(self._bring)

    def verify(self) -> Checked:
        """The other side's disk is read, and all that was brought compared, but for what was compared before and has
        not changed there since. Raises HostFailure naming the first entry that differs."""
        return self._guarded(self._verify)

    def end(self) -> None:
        """Nothing more will be said: the receiver returns."""
        try:
            self._guarded(self._say_bye)
        finally:
            self._index.close()

    def _guarded(self, work: Callable[[], T]) -> T:
        """Errors as the caller knows them."""
        try:
            return work()
        except _Stopped as stopped:
            assert stopped.__cause__ is not None
            raise stopped.__cause__ from None
        except Severed as severed:
            raise self._last_words() or severed from severed
        except _FarFailure as failure:
            raise failure.as_raised() from None
        except Unreadable as unreadable:
            raise unreadable.error from unreadable.__cause__
        except sqlite3.Error as error:
            hint = "Is the disk with the notes about the copy full?"
            raise HostFailure(_SUBJECT, f"what was copied could not be noted: {error}", hint) from error

    def _last_words(self) -> Exception | None:
        """Of a side that has gone: why."""
        with suppress(Severed, Misspoken):
            while self._wire.has_heard():
                word = self._wire.hear()
                if isinstance(word, Failed):
                    return _FarFailure(word).as_raised()
        return None

    def _bring(self) -> Pass:
        kept = Kept(self._greet(), self._forgone)
        self._number += 1
        self._reported = (0, 0)
        walk = Walk(self._source_fd, self._wire, self._index, kept, self._number, self._passed_over, self._told_pass)
        walk.run()
        self._wire.say(Flush())
        self._wire.flush()
        if not isinstance(self._answer(), Done):
            raise Misspoken(_SUBJECT, _NO_ANSWER)
        result = walk.result
        self._report("copy", result.entries, result.read_bytes, result.sent_bytes, is_last=True)
        return result

    def _verify(self) -> Checked:
        abilities = self._greet()
        self._reported = (0, 0)
        check = Check(self._index, abilities, self._forgone, self._passed_over)
        for question in check.questions():
            self._wire.say(question)
            self._wire.flush()
            found: list[Found | None] = []
            while len(found) < check.asked:
                answer = self._answer(lambda count: self._told_check(check, count))
                if not isinstance(answer, Seen) or not answer.found:
                    raise Misspoken(_SUBJECT, _NO_ANSWER)
                found += answer.found
            check.compare(found)
            self._told_check(check, 0)
        self._told_check(check, 0, is_last=True)
        return check.result

    def _say_bye(self) -> None:
        self._greet()
        self._wire.say(Bye())
        self._wire.flush()

    def _greet(self) -> Abilities:
        if self._abilities is None:
            self._wire.greet()
            self._wire.say(Hello(tuple(sorted(self._forgone))))
            self._wire.flush()
            answer = self._answer()
            if not isinstance(answer, Abilities):
                raise Misspoken(_SUBJECT, _NO_ANSWER)
            self._abilities = answer
        return self._abilities

    def _answer(self, told: Callable[[int], None] = lambda count: None) -> object:
        """The next one; `told` hears how many bytes the other side has read for it so far."""
        while isinstance(word := self._hear(), Working):
            told(word.read_bytes)
        return word

    def _hear(self) -> object:
        word = self._wire.hear()
        if isinstance(word, Failed):
            raise _FarFailure(word)
        return word

    def _told_pass(self, result: Pass) -> None:
        self._report("copy", result.entries, result.read_bytes, result.sent_bytes)

    def _told_check(self, check: Check, read_bytes: int, is_last: bool = False) -> None:
        self._report("verify", check.result.compared, check.result.read_bytes + read_bytes, 0, is_last)

    def _report(self, stage: str, entries: int, read: int, sent: int, is_last: bool = False) -> None:
        entries_before, read_before = self._reported
        if not is_last and entries - entries_before < _REPORT_ENTRIES and read - read_before < _REPORT_BYTES:
            return
        self._reported = (entries, read)
        if stage == "copy" and not is_last and self._wire.has_heard():
            self._hear()  # it asked for nothing to be said: it can only have failed
            raise Misspoken(_SUBJECT, "the other side answered what it was not asked")
        if self._progress is not None:
            try:
                self._progress(MirrorProgress(stage, self._number, entries, read, sent))
            except Exception as error:
                raise _Stopped from error
