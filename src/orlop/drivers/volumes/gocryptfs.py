"""gocryptfs over the data of another volume: what is there, making it, the program that mounts it.

The data of the volume below is looked at by programs that can be killed: it may be storage that does not answer.
"""

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from orlop.drivers.volumes.abilities import LastingUses, Pending, Retirement
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.mount_program import Command, MountProgram, find_program
from orlop.drivers.volumes.remote_options import Options, choose, require
from orlop.drivers.volumes.served_backend import Served
from orlop.drivers.volumes.storage_mark import NEVER
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unavailable
from orlop.kernel.mounts import MountEntry
from orlop.store.files import write_durably

OWN_OPTIONS = ("driver", "key")
DEFAULT_DRIVER = "local"
_OF_INNER = "driver."
_CONFIG, _ROOT_MARK = "gocryptfs.conf", "gocryptfs.diriv"
_UNFINISHED = {
    _CONFIG,
    f"{_CONFIG}.tmp",
}  # of making one: nothing can be encrypted before the mark of the root is there
_HARMLESS = {"lost+found"}
_KEY, _IDENTITY = "key", "identity"
_MARKING = ("cloud", "nas")
_READY = b"mounted and ready"
_LOOK_SECONDS, _MAKE_SECONDS = 20.0, 60.0


class Inner(VolumeDriver, Retirement, LastingUses, Protocol):
    """A driver for the volumes that hold what is encrypted. They have the served ids of ours as names."""


class GocryptfsBackend:
    name = "encrypted"
    scope = "local"
    writes_through = True  # as far as the volume below does
    shown = ("driver",)

    def __init__(self, inner: Mapping[str, Inner], guessing_cost: int) -> None:
        self._inner = inner
        self._guessing_cost = guessing_cost

    def check(self, subject: str, options: Options) -> None:
        """Those of the volume below are its driver's business (`encrypted`)."""
        choose(subject, options, "driver", tuple(self._inner), DEFAULT_DRIVER)
        require(subject, options, "key")

    def inner(self, options: Options) -> Inner:
        return self._inner[options.get("driver") or DEFAULT_DRIVER]

    def command(self, served: Served) -> Command:
        """The volume below is attached from here on until `ended`."""
        subject = f"attaching volume {served.name}"
        inner, name = self.inner(served.given), served.place.name
        try:
            inner.get(name)
        except NotFound:
            if served.identity.exists():
                why = f"its encrypted data ({inner.name} volume {name}) is missing"
                raise HostFailure(subject, why, "Bring it back from a backup") from None
            inner.create(name, inner_options(served.given), "{}")
        try:
            data = inner.attach(name, hold(name))
        except OrlopError as error:  # the volume below has a name that nobody knows
            raise type(error)(subject, f"the {inner.name} volume below: {error.why}", error.hint) from error
        try:
            return self._mount_command(subject, served, data, inner.scope == "global")
        except BaseException:
            self.ended(served)
            raise

    def _mount_command(self, subject: str, served: Served, data: Path, is_shared: bool) -> Command:
        known = served.identity.read_text() if served.identity.exists() else ""
        identity = _find(subject, data, served.options["key"], bool(known), self._guessing_cost)
        if known and identity != known:
            why = "its encrypted data is another volume's"
            raise Conflict(subject, why, "Check where its options lead; nothing else is mounted in its place")
        argv = [_program(), "-fg", "-nosyslog", "-allow_other", "-suid", "-dev"]
        argv += ["-fsname", f"encrypted:{served.name}", "-passfile", str(served.place / _KEY)]
        # Hosts that share it must not rely on what they remember, and no network storage sets room aside.
        argv += ["-sharedstorage", "-noprealloc"] if is_shared else []
        argv += ["-ro"] if served.options.get("read-only") in ("true", "1", "yes") else []
        argv += ["--", str(data), str(served.mountpoint)]
        return Command(tuple(argv), {_KEY: served.options["key"], _IDENTITY: identity})

    def is_own(self, entry: MountEntry) -> bool:
        return entry.fs_type == "fuse.gocryptfs"

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        """It keeps nothing back: what is written to it is written to the volume below."""

    def pending(self, place: Path, cache: Path) -> Pending | None:
        """What the volume below has not sent is told by its driver."""
        return Pending()

    def is_ready(self, served: Served) -> bool:
        """The mount is there before the program has tried it out, and who uses it in between hangs together with it:
        the trial and a new file wait for the same directory."""
        return _READY in (served.place / "log").read_bytes()

    def mounted(self, served: Served) -> None:
        """The key fits, so this is the volume's data from now on."""
        if not served.identity.exists():
            write_durably(served.identity, (served.place / _IDENTITY).read_bytes())

    def ended(self, served: Served) -> None:
        name = served.place.name
        self.inner(served.given).detach(name, hold(name))


def inner_options(options: Options) -> dict[str, str]:
    """What is encrypted is known by a mark of its own, and storage is told nothing in the clear: no host, no day. An
    option that has the name of one of ours is written with a prefix (`driver.key`)."""
    found = {key.removeprefix(_OF_INNER): value for key, value in options.items() if key not in OWN_OPTIONS}
    # A block that is encrypted cannot be read at all when only a part of it is new: after a crash it is old or new.
    own = {"mark": NEVER} if options.get("driver") in _MARKING else {}
    return {**own, **({"data-journal": "true"} if options.get("driver") == "san" else {}), **found}


def hold(name: str) -> str:
    """The use by which the volume below is attached."""
    return hashlib.sha256(name.encode()).hexdigest()


def _find(subject: str, data: Path, key: str, is_known: bool, guessing_cost: int) -> str:
    """What the encrypted data is known by: the mark of its root directory, random and never changed. Made where there
    is nothing. Raises HostFailure, Conflict, Unavailable."""
    entries = set(_ask(subject, "ls", "-A1", "--", str(data)).decode(errors="replace").splitlines()) - _HARMLESS
    if not {_CONFIG, _ROOT_MARK} <= entries:
        if is_known:
            why = f"its encrypted data is no longer in {data}"
            raise HostFailure(subject, why, "Check where its options lead; it is not made anew")
        if foreign := sorted(entries - _UNFINISHED):
            why = f"{data} is not empty, and nothing that gocryptfs encrypted: {', '.join(foreign[:3])}"
            raise Conflict(subject, why, "Choose an empty place")
        for left in sorted(entries & _UNFINISHED):
            _ask(subject, "rm", "-f", "--", str(data / left))
        _make(subject, data, key, guessing_cost)
    return _ask(subject, "head", "-c", "64", "--", str(data / _ROOT_MARK)).hex()


def _make(subject: str, data: Path, key: str, guessing_cost: int) -> None:
    given = os.memfd_create("key", 0)
    try:
        os.write(given, key.encode())
        wish = ("-init", "-quiet", "-scryptn", str(guessing_cost), "-passfile", f"/proc/self/fd/{given}")
        _ask(subject, _program(), *wish, "--", str(data), given=given, seconds=_MAKE_SECONDS)
    finally:
        os.close(given)
    # It will be remembered that they are there, and then nobody makes them anew.
    made = (str(data / _CONFIG), str(data / _ROOT_MARK), str(data))
    _ask(subject, "sync", "--", *made, seconds=_MAKE_SECONDS)


def _ask(subject: str, *argv: str, given: int = -1, seconds: float = _LOOK_SECONDS) -> bytes:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            pass_fds=[given] if given >= 0 else [],
        )
    except subprocess.TimeoutExpired as error:
        why = f"its encrypted data does not answer within {seconds:g} s"
        raise Unavailable(subject, why, "Check that its storage can be reached from here") from error
    if done.returncode:
        said = " / ".join(done.stderr.decode(errors="replace").split("\n")).strip(" /")[-400:]
        raise HostFailure(subject, f"its encrypted data: {said or f'{argv[0]} ended with {done.returncode}'}")
    return done.stdout


def _program() -> str:
    return find_program("gocryptfs", "gocryptfs (apt-get install gocryptfs)")
