"""Sparse maps of tars: old GNU headers, and pax as GNU tar 0.0, 0.1 and 1.0 wrote it. Pure."""

from collections.abc import Iterable, Sequence

from orlop.archive.member import Segment
from orlop.archive.pax import parse_decimal
from orlop.archive.tar_fields import BLOCK, parse_number

MAX_NUMBERS = 1 << 18  # 131 072 segments: a hostile map must not fill the memory


def segments_of(numbers: Sequence[int], size_bytes: int, stored_bytes: int) -> tuple[Segment, ...]:
    """Offset, length, offset, length ... as segments, checked against the file's size and the bytes in the archive.
    Empty segments only mark the file's end and are dropped. Raises ValueError."""
    if len(numbers) % 2:
        raise ValueError("its sparse map is cut off")
    segments = []
    end = total = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < end or length < 0 or offset + length > size_bytes:
            raise ValueError("its sparse map contradicts itself")
        end = offset + length
        total += length
        if length:
            segments.append(Segment(offset, length))
    if total != stored_bytes:
        raise ValueError("its sparse map does not fit its data")
    return tuple(segments)


def old_gnu_numbers(area: bytes) -> Iterable[int]:
    """Pairs of 12-byte fields; the first empty one ends the list."""
    for at in range(0, len(area) - 23, 24):
        if not area[at]:
            return
        yield parse_number(area[at : at + 12])
        yield parse_number(area[at + 12 : at + 24])


def parse_map_01(text: str) -> list[int]:
    return [parse_decimal(part) for part in text.split(",")] if text else []


def parse_map_10(data: memoryview) -> tuple[list[int], int]:
    """The map at the start of the data: a count of pairs, then the numbers, each on a line; padded to a block.
    Returns the numbers and where the data begins."""
    at = 0

    def number() -> int:
        nonlocal at
        line, newline, _ = bytes(data[at : at + 24]).partition(b"\n")
        if not newline:
            raise ValueError("its sparse map is cut off")
        at += len(line) + 1
        return parse_decimal(line)

    count = 2 * number()
    if count > MAX_NUMBERS:
        raise ValueError("its sparse map is too long")
    numbers = [number() for _ in range(count)]
    return numbers, -(-at // BLOCK) * BLOCK


def lines_of_map_10(data: bytes) -> int:
    """How many lines such a map has, by its first; 1 where that says nothing that makes sense."""
    count, newline, _ = data[:24].partition(b"\n")
    return 2 * int(count) + 1 if newline and count.isdigit() and int(count) <= MAX_NUMBERS // 2 else 1
