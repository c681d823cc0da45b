"""Planted secrets: looked for in every spelling that programs may give them, wherever a daemon shows or keeps any."""

import base64
import json
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

from orlop.kernel.process import parent_pid
from support.daemon import LiveDaemon

# rclone's config files and ours are written with it; it is published with rclone, and hides from a glance only.
_RCLONE_KEY = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
_OBSCURED = re.compile(rb"[A-Za-z0-9_-]{23,}")
_VECTOR_BYTES = 16
_LEAST_LINE = 16


class Planted:
    """Values by what they are called in a test."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self._needles = {needle: name for name, value in values.items() for needle in spellings(value)}

    def found_in(self, text: bytes) -> set[str]:
        """Which of them a text holds."""
        found = {name for needle, name in self._needles.items() if needle in text}
        return found | {name for word in _OBSCURED.findall(text) for name in self._revealed(word)}

    def _revealed(self, word: bytes) -> Iterator[str]:
        alike = [name for name, value in self.values.items() if _sealed_length(value) == len(word)]
        plain = reveal(word) if alike else b""
        yield from (name for name in alike if self.values[name].encode() == plain)


def _sealed_length(value: str) -> int:
    return -(-(len(value.encode()) + _VECTOR_BYTES) * 4 // 3)


def spellings(value: str) -> set[bytes]:
    """As it is, quoted for a URL, for JSON, for Go; in base64, alone or anywhere within something longer; in hex. Of
    what has lines, each."""
    plain = value.encode()
    found = {plain, quote(value, safe="").encode(), quote_plus(value).encode(), plain.hex().encode()}
    found |= {json.dumps(value)[1:-1].encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode()}
    found.add(quote(value, safe="/+=:@&$,;~!*'()").encode())
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain)
        inner = encoded[(0, 2, 3)[before] : len(encoded) - 4].rstrip(b"=")
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    found |= {line.encode() for line in value.splitlines() if len(line) >= _LEAST_LINE and "-----" not in line}
    return {needle for needle in found if len(needle) >= 6}


def reveal(word: bytes) -> bytes:
    """What `rclone obscure` made a word of."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    try:
        sealed = base64.urlsafe_b64decode(word + b"=" * (-len(word) % 4))
    except ValueError:
        return b""
    cipher = Cipher(algorithms.AES(_RCLONE_KEY), modes.CTR(sealed[:_VECTOR_BYTES])).decryptor()
    return cipher.update(sealed[_VECTOR_BYTES:]) + cipher.finalize()


def files_below(top: Path) -> Iterator[tuple[Path, bytes]]:
    """Regular files, what is just being deleted left out, and nothing that is mounted there."""
    device = top.stat().st_dev
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if _device(Path(folder) / name) == device]
        for path in (Path(folder) / name for name in names):
            try:
                if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_dev == device:
                    yield path, path.read_bytes()
            except OSError:
                continue


def _device(path: Path) -> int:
    try:
        return path.lstat().st_dev
    except OSError:
        return -1


def is_for_root_alone(path: Path, top: Path) -> bool:
    """The file itself, or a directory above it (below `top`) that others cannot even pass through."""
    try:
        places = [path, *(parent for parent in path.parents if parent.is_relative_to(top) and parent != top)]
        shut = [place for place in places if place.stat().st_mode & (0o077 if place == path else 0o007) == 0]
        return path.stat().st_uid == 0 and bool(shut) and path.stat().st_mode & 0o077 == 0
    except FileNotFoundError:
        return True


def processes_of(*places: Path, pids: tuple[int, ...] = ()) -> list[Path]:
    """/proc/PID of those processes, their descendants, and whatever works in or names one of the places."""
    names = [str(place).encode() for place in places]
    return [
        entry
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and (_descends(int(entry.name), pids) or _names(entry, names))
    ]


def _descends(pid: int, pids: tuple[int, ...]) -> bool:
    try:
        while pid > 1 and pid not in pids:
            pid = parent_pid(pid)
    except (OSError, ValueError):
        return False
    return pid in pids


def _names(entry: Path, names: list[bytes]) -> bool:
    try:
        said = (entry / "cmdline").read_bytes() + os.fsencode((entry / "cwd").readlink())
    except OSError:
        return False
    return any(name in said for name in names)


@contextmanager
def watched_arguments(planted: Planted) -> Iterator[set[str]]:
    """Which of them stand in the arguments of any process of this machine meanwhile, however short it lives."""
    seen: set[str] = set()
    known: dict[str, bytes] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    text = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if known.get(entry.name) != text and b"docker" not in text:
                    seen.update(planted.found_in(text))
                known[entry.name] = text

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def what_it_shows(daemon: LiveDaemon, containers: list[str], volumes: list[str]) -> Iterator[tuple[str, bytes]]:
    """Everything that a user of the daemon, of its host and of its containers may come to see, with where it stands."""
    for words in (
        ("volume", "ls", "--format", "json"),
        ("volume", "inspect", *volumes),
        ("ps", "-a", "--no-trunc", "--format", "json"),
        ("inspect", *containers),
        ("system", "df", "-v"),
        ("info",),
        ("events", "--since", "1h", "--until", "0s", "--format", "json"),
    ):
        done = daemon.docker(*words, code=None)
        yield f"docker {' '.join(words)}", (done.stdout + done.stderr).encode()
    for words in (
        ("volume", "ls", "--size", "--format", "json"),
        ("volume", "ls", "--retired", "--format", "json"),
        ("secret", "ls", "--format", "json"),
        ("volume", "inspect", *volumes),
    ):
        done = daemon.orlop(*words, code=None)
        yield f"orlop {' '.join(words)}", (done.stdout + done.stderr).encode()
    yield "the daemon's log", daemon.whole_log().encode()
    for container in containers:
        for where in ("/proc/mounts", "/proc/*/cmdline", "/proc/*/environ", "/*x/.stats", "/*x/.config"):
            done = daemon.docker("exec", container, "sh", "-c", f"cat {where}", code=None)
            yield f"{where} in a container", (done.stdout + done.stderr).encode()
