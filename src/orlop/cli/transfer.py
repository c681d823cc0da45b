"""Archives between files and the daemon: what `load`, `import`, `save`, `export` and `cp` share."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orlop.cli.app import App
from orlop.cli.progress import Progress
from orlop.client.api import Query, json_messages
from orlop.client.errors import ApiError, ClientError

if TYPE_CHECKING:
    from orlop.client.http import Response


@contextmanager
def open_archive(path: str) -> Iterator[IO[bytes]]:
    """The archive to read: a file, or standard input for "-". Raises ClientError."""
    if path == "-":
        if os.isatty(0):
            raise ClientError("standard input is a terminal: name the archive, or pipe it in")
        yield sys.stdin.buffer
        return
    try:
        source = Path(path).open("rb")  # noqa: SIM115 (closed below; a failure to open is told apart from one within)
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}") from error
    with source:
        yield source


def send_archive(app: App, path: str, query: Query, source: IO[bytes], progress_label: str, quiet: bool) -> "Response":
    """POST the archive's bytes. A regular file is sent by the kernel, anything else in chunks."""
    facts = os.fstat(source.fileno())
    length = facts.st_size if stat.S_ISREG(facts.st_mode) else None
    if length is not None and source is sys.stdin.buffer:
        length -= os.lseek(0, 0, os.SEEK_CUR)
    with Progress(progress_label, length or 0, quiet) as progress:
        return app.api.upload("POST", path, query, source, length, progress.advance)


def read_messages(response: "Response", quiet: bool) -> Iterator[dict[str, Any]]:
    """The daemon's progress stream: its steps are shown, its error is raised, everything else is yielded."""
    with Progress("", quiet=quiet) as progress:
        for message in json_messages(response):
            if "error" in message or "errorDetail" in message:
                detail = message.get("errorDetail") or {}
                raise ApiError(500, str(message.get("error") or detail.get("message") or "it failed without a reason"))
            if "progressDetail" in message or "id" in message:
                progress.show(" ".join(str(message[key]) for key in ("id", "status", "progress") if message.get(key)))
                continue
            progress.clear()
            yield message


@contextmanager
def open_output(path: str) -> Iterator[IO[bytes]]:
    """Where an archive goes: standard output for "", else a file that appears under its name only when it is whole."""
    if path in ("", "-"):
        if os.isatty(1):
            raise ClientError("an archive is not for a terminal: use -o FILE, or redirect the output")
        yield sys.stdout.buffer
        return
    target = Path(path)
    if target.exists() and not target.is_file():
        with target.open("wb") as device:  # a device or a pipe
            yield device
        return
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        # For its owner alone, as docker writes its archives: there may be secrets in the data.
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def receive_archive(response: "Response", output: IO[bytes], progress_label: str, quiet: bool) -> None:
    with Progress(progress_label, int(response.headers.get("content-length", 0)), quiet) as progress:
        for piece in response.pieces():
            output.write(piece)
            progress.advance(len(piece))
        output.flush()
