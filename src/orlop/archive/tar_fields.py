"""The fixed fields of a tar header: octal and base-256 numbers, strings, the checksum. Pure."""

from functools import lru_cache
from struct import Struct
from zlib import adler32

BLOCK = 512

# name mode uid gid size mtime checksum type link magic version uname gname major minor prefix
HEADER = Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")


def header_sum(header: bytes) -> int:
    """The checksum: all bytes, with the checksum's own field counted as spaces."""
    return _sum(header) - sum(header[148:156]) + 8 * 0x20


def blank_header_sum(header: bytes) -> int:
    """The same where that field still holds the spaces."""
    return _sum(header)


def _sum(header: bytes) -> int:
    # The low half of an Adler-32 is one more than the sum of the bytes, modulo 65521, which a header of ASCII does not
    # reach: 512 * 127 = 65024. A tenth of the time of sum().
    return (adler32(header) & 0xFFFF) - 1 if len(header) == BLOCK and header.isascii() else sum(header)


def is_header(block: bytes) -> bool:
    """Whether this is a header by its checksum. Ancient tars summed the bytes as signed numbers."""
    if len(block) < BLOCK or not block[148:156].strip(b" \0"):
        return False  # without a checksum, bytes whose signed sum happens to be 0 would pass for a header
    try:
        wanted = parse_number(block[148:156])
    except ValueError:
        return False
    header = block[:BLOCK]
    total = header_sum(header)
    return wanted == total or wanted == total - 256 * sum(byte >= 0x80 for byte in header[:148] + header[156:])


@lru_cache(maxsize=4096)  # owners, modes and times repeat
def parse_number(field: bytes) -> int:
    """Octal, padded by spaces or zeros; or GNU's base-256, marked by the first bit. Empty is 0. Raises ValueError."""
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if first & 0x40 else value
    digits = field.strip(b" \0")
    if not digits.isdigit():
        digits = digits.partition(b"\0")[0].rstrip(b" ")
        if not digits:
            return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise ValueError(f"{field!r} is not an octal number")
    return int(digits, 8)


def parse_string(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
