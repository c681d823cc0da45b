"""Sizes as people write them."""

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])?i?b?)", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse_size(text: str) -> int:
    """Bytes from "10g", "512 MiB", "1.5k", "4096": units are binary, as everywhere in Docker. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(found[1]) * _FACTORS[(found[2] or "").lower()])


def describe_size(size_bytes: int) -> str:
    """For people, in binary units: "64 MiB", "1.5 GiB"."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024 or unit == "PiB":
            return f"{size:.4g} {unit}"
        size /= 1024
    raise AssertionError
