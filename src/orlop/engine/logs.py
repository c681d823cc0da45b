"""Reading containers' logs.

The supervisor writes them, a line of output a line, in the format that Kubernetes defined:

    2016-10-06T00:17:09.669794202+00:00 stdout F the text

F ends a line; P is a part of one whose rest follows, because it was longer than the supervisor's buffer or because the
program paused in the middle. The supervisor runs with TZ=UTC, so the time has one width and sorts as text.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from orlop.kernel import inotify
from orlop.model.value import dataclass

# Where the log of a container is and whether it still runs. Raises NoSuchContainer.
FindLog = Callable[[str], tuple[Path, Callable[[], bool]]]

_TIME = 29  # 2016-10-06T00:17:09.669794202
_TAG = slice(36, 44)  # stdout F
_TEXT = 45
_STREAMS = {b"stdout F": 1, b"stdout P": 1, b"stderr F": 2, b"stderr P": 2}
_FULL = ord("F")
_NEWLINE = ord("\n")
_FLAG = 43
_BLOCK = 1 << 20
_TAIL_BLOCK = 1 << 16
# A program that never ends its line must not fill our memory: so much of it is a record by itself.
_LONGEST_LINE = 1 << 20
_WHOLE_LINES = {1: re.compile(rb".{36}stdout F (.*\n)"), 2: re.compile(rb".{36}stderr F (.*\n)")}
_PARTIAL = {1: b" stdout P ", 2: b" stderr P "}  # at _TAG.start - 1 of a line


@dataclass(frozen=True, slots=True)
class LogRecord:
    at_ns: int
    stream: int  # 1 stdout, 2 stderr
    data: bytes  # with its newline; a partial line has none


@dataclass(frozen=True, slots=True)
class LogOutput:
    """What one stream wrote, any number of lines."""

    stream: int
    data: bytes


class LogStream:
    """A position in a container's log. Not thread-safe.

    To follow: read until nothing comes; stop when `is_complete`; else wait until `fileno` is readable, but no longer
    than a second or so, since the end of a container that ended before the watch began is only known by asking.
    """

    def __init__(
        self, path: Path, is_running: Callable[[], bool], streams: frozenset[int], since_ns: int, until_ns: int
    ) -> None:
        self._path = path
        self._is_running = is_running
        self._tags = frozenset(tag for tag, stream in _STREAMS.items() if stream in streams)
        self._since = _render_time(since_ns)[:_TIME] if since_ns else b""
        self._until = _render_time(until_ns)[:_TIME] if until_ns else b""
        self._past_until = False
        self._closed_by_writer = False
        self._rest = b""  # the beginning of a line whose end is not written yet
        self._lines: Iterator[bytes] = iter(())
        self._parts: dict[int, tuple[int, list[bytes], int]] = {}  # by stream: time, parts, their length
        self._unended: set[int] = set()  # streams in the middle of a line, in read_output
        self._seconds: tuple[bytes, int] = (b"", 0)
        self._watches, self._inotify = _open_watcher()
        self._fd = -1
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """The log as it is now; there is none before the container's first start."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._watch(self._path.parent, inotify.IN_CREATE | inotify.IN_MOVED_TO)
            return
        self._fd = fd
        # By descriptor: the name may mean another file a moment later.
        self._watch(Path(f"/proc/self/fd/{fd}"), inotify.IN_MODIFY | inotify.IN_CLOSE_WRITE | inotify.IN_ATTRIB)

    def _watch(self, path: Path, mask: int) -> None:
        if self._watches:
            inotify.add_watch(self._inotify, path, mask)

    def seek_tail(self, lines: int) -> None:
        """Go to where the last so many lines begin."""
        if self._fd >= 0:
            os.lseek(self._fd, _find_tail(self._fd, lines, self._tags), os.SEEK_SET)

    def read(self, most: int = 1000) -> Sequence[LogRecord]:
        """The next records; empty when all that was written so far has been read."""
        records: list[LogRecord] = []
        while len(records) < most:
            line = next(self._lines, None)
            if line is None:
                wanted = self._next_lines()
                if not wanted:
                    break
                self._lines = iter(wanted)
                continue
            record = self._record(line)
            if record is not None:
                records.append(record)
        if not records and (self._past_until or self.is_complete):
            records = [LogRecord(at, stream, b"".join(parts)) for stream, (at, parts, _) in self._parts.items()]
            self._parts.clear()
        return records

    def read_output(self, timestamps: bool = False) -> Sequence[LogOutput]:
        """The same in bulk, about a megabyte at a time, with each line's time before it if asked: what a client that
        only shows the log needs, many times as fast. Use this or `read`, not both."""
        if not (timestamps or self._since or self._until):
            return self._read_in_bulk()
        lines = self._next_lines()
        if not lines:
            return ()
        if timestamps:
            return self._stamped(lines)
        return _outputs(lines)

    def _read_in_bulk(self) -> Sequence[LogOutput]:
        """Mostly a block is of one stream: then its texts are found by a few searches, not line by line."""
        while (data := self._read_whole_lines()) is not None:
            stream = _STREAMS.get(data[_TAG], 0)
            text = _text_of_one_stream(data, stream) if stream else None
            if text is None:
                lines = [line for line in data[:-1].split(b"\n") if line[_TAG] in self._tags]
                if lines:
                    return _outputs(lines)
            elif data[_TAG] in self._tags:
                return (LogOutput(stream, text),)
        return ()

    @property
    def is_complete(self) -> bool:
        """Nothing more will come once `read` returns nothing: the container has stopped, or `until` has passed."""
        if self._past_until or not self._is_running():
            return True
        # Asking is not enough: the engine may hear of the exit a moment after we do.
        return self._closed_by_writer and not self._was_replaced()

    def fileno(self) -> int:
        """Readable (poll) when more may have been written: an inotify descriptor, emptied by reading."""
        return self._inotify

    def close(self) -> None:
        for fd in (self._fd, self._inotify):
            if fd >= 0:
                os.close(fd)
        self._fd = self._inotify = -1

    def _next_lines(self) -> list[bytes]:
        """The wanted ones of the next block; empty at the end of what is written."""
        while not self._past_until:
            lines = self._read_block()
            if lines is None:
                return []
            wanted = [line for line in lines if line[_TAG] in self._tags]
            if self._since:
                since = self._since
                wanted = [line for line in wanted if line[:_TIME] >= since]
            if self._until and wanted and max(wanted[0], wanted[-1])[:_TIME] > self._until:
                self._past_until = True
                wanted = [line for line in wanted if line[:_TIME] <= self._until]
            if wanted:
                return wanted
        return []

    def _read_block(self) -> list[bytes] | None:
        """Whole lines as they are in the file; None at its end."""
        data = self._read_whole_lines()
        return None if data is None else data[:-1].split(b"\n")

    def _read_whole_lines(self) -> bytes | None:
        """About a megabyte of whole lines, each with its end; None at the end of what is written."""
        while True:
            data = os.read(self._fd, _BLOCK) if self._fd >= 0 else b""
            if not data:
                # First the news, then once more the file: what was written before the news must not be missed.
                if self._read_news():
                    continue
                return None
            end = data.rfind(b"\n") + 1
            if not end:
                self._rest += data
                continue
            found = self._rest + data[:end] if self._rest else data[:end]
            self._rest = data[end:]
            return found

    def _read_news(self) -> bool:
        """Take note of what inotify tells; True when there may be something to read."""
        events = inotify.read_events(self._inotify) if self._watches else ()
        if self._fd < 0:
            self._open()
            return self._fd >= 0
        if self._was_replaced():
            # The supervisor began a new file because the old one had reached its size.
            os.close(self._fd)
            self._fd, self._rest, self._closed_by_writer = -1, b"", False
            self._open()
            return True
        if any(mask & inotify.IN_CLOSE_WRITE for _, mask in events) and not self._closed_by_writer:
            self._closed_by_writer = True
            return True
        return os.lseek(self._fd, 0, os.SEEK_CUR) < os.fstat(self._fd).st_size

    def _was_replaced(self) -> bool:
        try:
            return os.fstat(self._fd).st_ino != self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def _record(self, line: bytes) -> LogRecord | None:
        """The record that the line completes, or None for a part of one."""
        stream = _STREAMS[line[_TAG]]
        full = line[_FLAG] == _FULL
        text = line[_TEXT:] + b"\n" if full else line[_TEXT:]
        begun = self._parts.get(stream)
        if begun is None:
            try:
                at_ns = self._parse_time(line)
            except ValueError:
                return None  # a power cut can leave anything; one lost line must not hide the rest
            if full:
                return LogRecord(at_ns, stream, text)
            self._parts[stream] = (at_ns, [text], len(text))
            return None
        at_ns, parts, length = begun
        parts.append(text)
        if full or length + len(text) >= _LONGEST_LINE:
            del self._parts[stream]
            return LogRecord(at_ns, stream, b"".join(parts))
        self._parts[stream] = (at_ns, parts, length + len(text))
        return None

    def _parse_time(self, line: bytes) -> int:
        """Neighbours are mostly of the same second, so the costly part is remembered."""
        second = line[:19]
        if second != self._seconds[0]:
            moment = datetime.strptime(second.decode(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
            self._seconds = (second, int(moment.timestamp()))
        return self._seconds[1] * 1_000_000_000 + int(line[20:_TIME])

    def _stamped(self, lines: Sequence[bytes]) -> Sequence[LogOutput]:
        pieces: list[tuple[int, bytes]] = []
        for line in lines:
            stream = _STREAMS[line[_TAG]]
            begins = stream not in self._unended
            pieces.append((stream, line[:_TIME] + b"Z " + _text(line) if begins else _text(line)))
            if line[_FLAG] == _FULL:
                self._unended.discard(stream)
            else:
                self._unended.add(stream)
        return _runs(pieces)


class Logs:
    def __init__(self, find: FindLog) -> None:
        self._find = find

    def require(self, reference: str) -> None:
        """Raises what `open` would: NoSuchContainer, Unsupported where no log is kept."""
        self._find(reference)

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
        path, is_running = self._find(reference)
        streams = frozenset(number for number, wanted in ((1, stdout), (2, stderr)) if wanted)
        stream = LogStream(path, is_running, streams, since_ns, until_ns)
        if tail is not None:
            stream.seek_tail(tail)
        return stream


def _open_watcher() -> tuple[bool, int]:
    """An inotify descriptor; or, when the user has no more of them (128 is the kernel's default), one that never wakes:
    a follower then finds out when it looks again by itself."""
    try:
        return True, inotify.open_inotify()
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return False, os.eventfd(0, os.EFD_CLOEXEC)


def _text_of_one_stream(data: bytes, stream: int) -> bytes | None:
    """What the lines say; None unless all are of the stream. The lengths show that the searches found every line."""
    whole_line, partial = _WHOLE_LINES[stream], _PARTIAL[stream]
    pieces: list[bytes] = []
    begin = search = 0
    while True:
        at = data.find(partial, search)
        start = at - _TAG.start + 1 if at >= 0 else len(data)
        if at >= 0 and (start < begin or (start and data[start - 1] != _NEWLINE)):
            search = at + 1  # words of the program, not the supervisor's
            continue
        texts = whole_line.findall(data, begin, start)
        pieces.append(b"".join(texts))
        if len(pieces[-1]) + _TEXT * len(texts) != start - begin:
            return None
        if at < 0:
            return b"".join(pieces)
        end = data.index(b"\n", at)
        pieces.append(data[start + _TEXT : end])
        begin = search = end + 1


def _outputs(lines: Sequence[bytes]) -> Sequence[LogOutput]:
    if not lines:
        return ()
    tags = {line[_TAG] for line in lines}
    streams = {_STREAMS[tag] for tag in tags}
    if len(streams) > 1:
        return _runs([(_STREAMS[line[_TAG]], _text(line)) for line in lines])
    if all(tag[-1] == _FULL for tag in tags):
        return (LogOutput(streams.pop(), b"\n".join([line[_TEXT:] for line in lines]) + b"\n"),)
    return (LogOutput(streams.pop(), b"".join([_text(line) for line in lines])),)


def _text(line: bytes) -> bytes:
    return line[_TEXT:] + b"\n" if line[_FLAG] == _FULL else line[_TEXT:]


def _runs(pieces: Sequence[tuple[int, bytes]]) -> Sequence[LogOutput]:
    """Neighbours of the same stream put together."""
    outputs: list[LogOutput] = []
    run: list[bytes] = []
    current = 0
    for stream, text in pieces:
        if stream != current and run:
            outputs.append(LogOutput(current, b"".join(run)))
            run = []
        current = stream
        run.append(text)
    if run:
        outputs.append(LogOutput(current, b"".join(run)))
    return outputs


def _render_time(at_ns: int) -> bytes:
    seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}".encode()


def _find_tail(fd: int, lines: int, tags: frozenset[bytes]) -> int:
    """Where the last so many lines of the wanted streams begin, reading backwards. A part without an end, at the very
    end, is a line too."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end
    position, rest = end, b""
    collected, start = 0, end
    while position > 0:
        size = min(_TAIL_BLOCK, position)
        position -= size
        block = os.pread(fd, size, position) + rest
        pieces = block.split(b"\n")
        # The first line of a block may have its beginning in the block before.
        rest = pieces.pop(0) if position > 0 else b""
        where = position + len(rest) + 1 if position > 0 else 0
        offsets = []
        for piece in pieces:
            offsets.append(where)
            where += len(piece) + 1
        for offset, piece in zip(reversed(offsets), reversed(pieces), strict=True):
            tag = piece[_TAG]
            if tag not in tags:
                continue
            if tag[-1] == _FULL:
                if collected == lines:
                    return start
                collected += 1
            elif collected == 0:
                collected = 1
            start = offset
    return 0
