"""What an archive is packed with on its way to a file: chosen by name or by word."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any, cast

_ENDINGS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".tzst": "zstd"}
COMPRESSIONS = ("none", "gzip", "zstd")


def choose_compression(word: str, path: str) -> str:
    """The word, or "" for what the file's name says."""
    return word or next((kind for ending, kind in _ENDINGS.items() if path.endswith(ending)), "none")


def open_packer(compression: str, output: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """Where to write plain bytes; leaving the block ends what is packed, not the output."""
    if compression == "zstd":
        import zstandard

        writer = zstandard.ZstdCompressor(level=3, threads=-1).stream_writer(output, closefd=False)
        return cast(AbstractContextManager[IO[bytes]], writer)
    if compression == "gzip":
        from isal import igzip

        opened: Callable[..., Any] = igzip.IGzipFile
        return cast(AbstractContextManager[IO[bytes]], opened(filename="", mode="wb", fileobj=output, mtime=0))
    return nullcontext(output)
