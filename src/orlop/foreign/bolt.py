"""Reading a bbolt database: Docker (volumes/metadata.db) and Podman (bolt_state.db) keep what they know in one.

A file of pages. Pages 0 and 1 are metas, of which the valid one with the later transaction counts; it names the root
bucket's page. A bucket is a B+ tree of branch and leaf pages; a leaf's element is a key with a value, or with another
bucket, which a small one holds inline as a page within the value.

    page      id u64, flags u16, count u16, overflow u32                 then `count` elements
    branch    pos u32, ksize u32, page id u64                            key at pos from the element's start
    leaf      flags u32, pos u32, ksize u32, vsize u32                   key, then value, at pos from there
    bucket    root page id u64 (0: inline), sequence u64, inline page
    meta      magic u32, version u32, page size u32, flags u32, bucket, freelist u64, pages u64, transaction u64, FNV-1a

Nothing is believed: a file that was cut, spoilt or made up ends in DamagedDatabase, soon, and in nothing else. Keys out
of order, which would hide records from a search, do no harm: everything is read in the order in which it lies there.
"""

import os
import struct
from collections.abc import Iterator
from functools import reduce

from orlop.model.value import dataclass

_PAGE = struct.Struct("<QHHI")
_BRANCH = struct.Struct("<IIQ")
_LEAF = struct.Struct("<IIII")
_BUCKET = struct.Struct("<QQ")
_META = struct.Struct("<IIIIQQQQQ")
_CHECKSUM = struct.Struct("<Q")

_MAGIC, _VERSION = 0xED0CDAED, 2
_IS_BRANCH, _IS_LEAF, _IS_META = 1, 2, 4
_IS_BUCKET = 1
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 17))
_DEEPEST = 64  # pages from a root to a leaf, and buckets in buckets
# What is read in all, so that pages and elements which name the same bytes again and again come to an end.
_TIMES_ITS_SIZE, _AND_BYTES = 16, 64 << 20
_LARGEST_PAGE = 64 << 20  # with its overflow


class DamagedDatabase(Exception):
    """The file says something that a bbolt database does not say."""


@dataclass(frozen=True, slots=True)
class _Page:
    data: bytes
    is_leaf: bool
    count: int


class BoltDatabase:
    """An open file; the descriptor stays the caller's, who has locked it against writers."""

    def __init__(self, fd: int) -> None:
        """Raises DamagedDatabase, OSError."""
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._left = self._size * _TIMES_ITS_SIZE + _AND_BYTES
        self._page_size, self._pages, self._root = self._find_meta()

    @property
    def root(self) -> "Bucket":
        return Bucket(self, self._root, b"", 0)

    def _find_meta(self) -> tuple[int, int, int]:
        """Page size, number of pages, root page, of the latest meta that is whole."""
        found: list[tuple[int, int, int, int]] = []
        for offset in (0, *_PAGE_SIZES):
            meta = self._meta_at(offset)
            # The second one lies one page after the first, so that offset and page size vouch for each other.
            if meta is not None and offset in (0, meta[1]):
                found.append(meta)
        if not found:
            raise DamagedDatabase("neither of its two headers is whole")
        _, page_size, pages, root = max(found)
        return page_size, pages, root

    def _meta_at(self, offset: int) -> tuple[int, int, int, int] | None:
        data = os.pread(self._fd, _PAGE.size + _META.size + _CHECKSUM.size, offset)
        if len(data) < _PAGE.size + _META.size + _CHECKSUM.size:
            return None
        body = data[_PAGE.size : _PAGE.size + _META.size]
        magic, version, page_size, _, root, _, _, pages, transaction = _META.unpack(body)
        (checksum,) = _CHECKSUM.unpack_from(data, _PAGE.size + _META.size)
        if (magic, version) != (_MAGIC, _VERSION) or page_size not in _PAGE_SIZES or checksum != _fnv1a(body):
            return None
        return transaction, page_size, pages, root

    def page(self, number: int) -> _Page:
        if not 2 <= number < self._pages:
            raise DamagedDatabase(f"page {number} is named and there are {self._pages}")
        offset = number * self._page_size
        head = self._read(offset, self._page_size)
        overflow = _PAGE.unpack_from(head)[3]
        size = (overflow + 1) * self._page_size
        if size > min(_LARGEST_PAGE, self._size - offset):
            raise DamagedDatabase(f"page {number} is longer than the file")
        return _parse_page(head if not overflow else self._read(offset, size), f"page {number}")

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DamagedDatabase("its pages name each other in circles")

    def _read(self, offset: int, size: int) -> bytes:
        self.spend(size)
        data = b""
        while len(data) < size:
            piece = os.pread(self._fd, size - len(data), offset + len(data))
            if not piece:
                raise DamagedDatabase("it ends too early")
            data += piece
        return data


@dataclass(frozen=True, slots=True)
class Bucket:
    """Keys with values, and keys with buckets of their own."""

    database: BoltDatabase
    root_page: int
    inline: bytes
    depth: int

    def values(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value, is_bucket in self._elements():
            if not is_bucket:
                yield key, value

    def buckets(self) -> Iterator[tuple[bytes, "Bucket"]]:
        for key, value, is_bucket in self._elements():
            if is_bucket:
                yield key, self._nested(value)

    def bucket(self, name: bytes) -> "Bucket | None":
        return next((found for key, found in self.buckets() if key == name), None)

    def value(self, name: bytes) -> bytes | None:
        return next((found for key, found in self.values() if key == name), None)

    def _nested(self, value: bytes) -> "Bucket":
        if len(value) < _BUCKET.size:
            raise DamagedDatabase("a bucket has no header")
        if self.depth >= _DEEPEST:
            raise DamagedDatabase("its buckets are nested without end")
        root, _ = _BUCKET.unpack_from(value)
        return Bucket(self.database, root, b"" if root else value[_BUCKET.size :], self.depth + 1)

    def _elements(self) -> Iterator[tuple[bytes, bytes, bool]]:
        top = self.database.page(self.root_page) if self.root_page else _parse_page(self.inline, "a bucket's own page")
        if not (self.root_page or top.is_leaf):
            raise DamagedDatabase("a bucket's own page is no leaf")
        waiting = [iter([top])]  # the way down to where we are: what is left at each level
        while waiting:
            page = next(waiting[-1], None)
            if page is None:
                waiting.pop()
            elif page.is_leaf:
                for element in _leaf_elements(page):
                    self.database.spend(len(element[0]) + len(element[1]))
                    yield element
            elif len(waiting) > _DEEPEST:
                raise DamagedDatabase("its pages are nested without end")
            else:
                waiting.append(map(self.database.page, _children(page)))


def _parse_page(data: bytes, shown: str) -> _Page:
    if len(data) < _PAGE.size:
        raise DamagedDatabase(f"{shown} is cut off")
    _, flags, count, _ = _PAGE.unpack_from(data)
    if flags not in (_IS_BRANCH, _IS_LEAF):
        raise DamagedDatabase(f"{shown} is of no known kind")
    size = _LEAF.size if flags == _IS_LEAF else _BRANCH.size
    if _PAGE.size + count * size > len(data):
        raise DamagedDatabase(f"{shown} is too short for its {count} elements")
    return _Page(data, flags == _IS_LEAF, count)


def _leaf_elements(page: _Page) -> Iterator[tuple[bytes, bytes, bool]]:
    for index in range(page.count):
        start = _PAGE.size + index * _LEAF.size
        flags, position, key_size, value_size = _LEAF.unpack_from(page.data, start)
        key_at = start + position
        value_at = key_at + key_size
        if value_at + value_size > len(page.data):
            raise DamagedDatabase("an element reaches out of its page")
        yield page.data[key_at:value_at], page.data[value_at : value_at + value_size], bool(flags & _IS_BUCKET)


def _children(page: _Page) -> list[int]:
    return [_BRANCH.unpack_from(page.data, _PAGE.size + index * _BRANCH.size)[2] for index in range(page.count)]


def _fnv1a(data: bytes) -> int:
    return reduce(lambda value, byte: ((value ^ byte) * 0x100000001B3) & (1 << 64) - 1, data, 0xCBF29CE484222325)
