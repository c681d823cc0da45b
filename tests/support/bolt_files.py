"""Small bbolt databases, written by hand: one page a bucket, so that a test can say what is in them."""

import struct
from collections.abc import Mapping, Sequence
from typing import Union

Tree = Mapping[bytes, Union[bytes, "Tree"]]
PAGE = 4096


def write_database(tree: Tree, page_size: int = PAGE) -> bytes:
    """Two metas, a freelist, and the root's leaf; buckets in it are inline."""
    root = leaf(3, tree)
    pages = 1 + -(-len(root) // page_size)
    root = root[:12] + struct.pack("<I", pages - 2) + root[16:]
    metas = [meta(number, 3, 2 + pages, transaction=number, page_size=page_size) for number in (0, 1)]
    freelist = struct.pack("<QHHI", 2, 0x10, 0, 0)
    body = b"".join(part.ljust(page_size, b"\0") for part in (*metas, freelist))
    return body + root.ljust((pages - 1) * page_size, b"\0")


def meta(number: int, root: int, pages: int, transaction: int, page_size: int = PAGE) -> bytes:
    body = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, page_size, 0, root, 0, 2, pages, transaction)
    return struct.pack("<QHHI", number, 4, 0, 0) + body + struct.pack("<Q", checksum(body))


def checksum(body: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in body:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def leaf(number: int, tree: Tree) -> bytes:
    elements: list[tuple[bytes, bytes, int]] = []
    for key, value in sorted(tree.items()):
        if isinstance(value, bytes):
            elements.append((key, value, 0))
        else:
            elements.append((key, struct.pack("<QQ", 0, 0) + leaf(0, value), 1))
    return page(number, 2, [struct.pack("<I", flag) for _, _, flag in elements], [(k, v) for k, v, _ in elements])


def page(number: int, flags: int, heads: Sequence[bytes], pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    table, content = b"", b""
    for index, (head, (key, value)) in enumerate(zip(heads, pairs, strict=True)):
        position = (len(pairs) - index) * 16 + len(content)
        table += head + struct.pack("<III", position, len(key), len(value))
        content += key + value
    return struct.pack("<QHHI", number, flags, len(pairs), 0) + table + content
