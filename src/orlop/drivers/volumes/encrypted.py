"""Encrypted volumes: gocryptfs over the data of a volume of any other driver.

    docker volume create -d encrypted -o driver=local -o key=secret://vault vault

    <root>/<name>/                 as every volume that a program mounts (served); _data shows the plain files
    <root>/.inner/<driver>/<id>/   the volume below, of that driver, named by our id: it holds what is encrypted

The volume below is seen by nobody else and has no life of its own: it is made by the first attach, attached while ours
is, stays where it is whatever name ours has, removed or not, and is destroyed with it.

    attach   the volume below -> gocryptfs over it          purge     ours: the decision, one rename
    detach   gocryptfs ends -> the volume below             cleanup   the volume below -> what is left of ours

Several hosts may have it where one of them at a time writes, and nothing can be written any more once its programs are
killed. More than one writer gocryptfs does not bear: two that write to one file at the same moment make it unreadable,
and what one remembers of a directory another may have made anew.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import (
    Changing,
    Health,
    HealthState,
    Interrupting,
    Leashed,
    Located,
    Mending,
    MountedAnew,
    Pending,
    Shareable,
    Uploading,
    Watched,
)
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.gocryptfs import DEFAULT_DRIVER, GocryptfsBackend, Inner, hold, inner_options
from orlop.drivers.volumes.served import ServedVolumes
from orlop.errors import Forbidden, HostFailure, Malformed, NotFound, OrlopError, Unsupported
from orlop.kernel.mounts import is_mount_point
from orlop.model.cluster import Access
from orlop.model.secret import is_reference

log = logging.getLogger(__name__)

INNER = ".inner"  # in our root, out of sight of its listing

Options = Mapping[str, str]


class EncryptedVolumes:
    """`inner` gives a driver for the volumes below by the name it has in `driver=`, each with a root of its own;
    `guessing_cost` is the exponent of two by which trying a key is made expensive (scrypt)."""

    def __init__(
        self,
        root: Path,
        run: Path,
        inner: Mapping[str, Inner],
        resolve: Callable[[Options], Options] = dict,
        guessing_cost: int = 16,
    ) -> None:
        self._inner = inner
        self._backend = GocryptfsBackend(inner, guessing_cost)
        self._outer = ServedVolumes(root, run, self._backend, resolve)
        self.root = self._outer.root
        self._giving_up = threading.Lock()

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def scope(self) -> str:
        return self._backend.scope

    def scope_of(self, options: Options) -> str:
        is_known = (options.get("driver") or DEFAULT_DRIVER) in self._inner
        return "global" if is_known and Access.RWO in self.accesses(options) else "local"

    # Create and find

    def check(self, name: str, options: Options) -> None:
        self._check("create", name, options)

    def _check(self, verb: str, name: str, options: Options) -> None:
        self._outer.check(name, options)
        if not is_reference(options["key"]):
            hint = "Make one: orlop secret create NAME FILE, and give -o key=secret://NAME"
            raise Malformed(f"{verb} {name}", "key names no secret", hint)
        self._backend.inner(options).check(name, inner_options(options))

    def create(self, name: str, options: Options, metadata: str) -> StoredVolume:
        self.check(name, options)
        return self._outer.create(name, options, metadata)

    def discard(self, name: str) -> None:
        try:
            inner, served_id = self._below(name)
        except NotFound:
            return
        self._outer.discard(name)  # which refuses where there was a use, and so may be something below
        inner.discard(served_id)

    def get(self, name: str) -> StoredVolume:
        return self._with_problem(self._outer.get(name))

    def list_volumes(self) -> Sequence[StoredVolume]:
        return [self._with_problem(stored) for stored in self._outer.list_volumes()]

    def _with_problem(self, stored: StoredVolume) -> StoredVolume:
        """What is wrong with the volume below keeps ours from being attached."""
        if stored.problem:
            return stored
        try:
            inner, served_id = self._below(stored.name)
            problem = inner.get(served_id).problem
        except NotFound:
            problem = self._missing(stored.name)
        except HostFailure as error:
            problem = error.why
        return replace(stored, problem=problem)

    def _missing(self, name: str) -> str:
        try:
            return "its encrypted data is missing" if self._outer.is_known(name) else ""
        except NotFound:
            return ""  # removed meanwhile

    def metadata(self, name: str) -> str:
        return self._outer.metadata(name)

    def retired_metadata(self, retired_id: str) -> str:
        return self._outer.retired_metadata(retired_id)

    def describe(self, name: str, metadata: str) -> None:
        self._outer.describe(name, metadata)

    def options(self, name: str) -> Options:
        return self._outer.options(name)

    def _below(self, name: str) -> tuple[Inner, str]:
        return self._backend.inner(self._outer.options(name)), self._outer.served_id(name)

    # Among several hosts: one at a time writes

    def accesses(self, options: Options) -> Sequence[str]:
        inner = self._backend.inner(options)
        if not (isinstance(inner, Shareable) and isinstance(inner, Leashed)):
            return ()
        return [access for access in inner.accesses(inner_options(options)) if access != Access.RWX]

    def options_for(self, options: Options, access: str) -> Options:
        return {**options, "read-only": "true"} if access == Access.ROX else options

    def storage_of(self, options: Options) -> str:
        inner = self._backend.inner(options)
        return inner.storage_of(inner_options(options)) if isinstance(inner, Located) else ""

    def identity(self, name: str) -> str:
        """Of what is encrypted, and of the storage that it lies on."""
        mark = self._outer.identity(name)
        inner, served_id = self._below(name)
        below = ""
        with suppress(NotFound):
            below = inner.identity(served_id) if mark and isinstance(inner, Shareable) else ""
        return f"{mark} {below}".strip()

    def expect(self, name: str, identity: str) -> None:
        mark, _, below = identity.partition(" ")
        self._outer.expect(name, mark)
        inner, served_id = self._below(name)
        if below and isinstance(inner, Shareable):
            try:
                inner.get(served_id)
            except NotFound:
                inner.create(served_id, inner_options(self._outer.options(name)), "{}")
            inner.expect(served_id, below)

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None:
        inner, served_id = self._below(name)
        if isinstance(inner, Leashed):
            inner.tie(served_id, leash, epoch)
        self._outer.tie(name, leash, epoch)

    def is_reached(self, name: str) -> bool:
        with suppress(NotFound):
            inner, served_id = self._below(name)
            return self._outer.is_reached(name) or (isinstance(inner, Leashed) and inner.is_reached(served_id))
        return False

    def cut(self, name: str, seconds: float) -> None:
        """gocryptfs may hang in what is below, so it is not waited for before that is cut off, too."""
        self._outer.flush(name, seconds / 2)
        with suppress(NotFound):
            self._outer.interrupt(name)
            inner, served_id = self._below(name)
            if isinstance(inner, Leashed):
                inner.cut(served_id, seconds / 2)
        self._outer.cut(name, 0)

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        self._end_above_dead(name)
        try:
            return self._outer.attach(name, use_id)
        except HostFailure as error:
            if "Password incorrect" not in error.why:
                raise
            hint = "Give the secret the value that it had when the volume was made: orlop secret create --force"
            raise Forbidden(error.subject, "its key does not fit the encrypted data", hint) from error

    def _end_above_dead(self, name: str) -> None:
        """Where what is below died, and lost what was not on its device: gocryptfs begins anew with it."""
        inner, served_id = self._below(name)
        if isinstance(inner, Watched) and isinstance(inner, MountedAnew) and inner.mounts_anew:
            with suppress(NotFound):
                if self._outer.is_reached(name) and inner.health(served_id).state is HealthState.STALE:
                    self._outer.interrupt(name)

    def detach(self, name: str, use_id: str) -> None:
        self._outer.detach(name, use_id)

    def detach_others(self, use_ids: Collection[str]) -> None:
        """What is below a mount that is still there stays until that one has gone."""
        held = set()
        for stored in self._outer.list_volumes():
            try:
                if is_mount_point(Path(stored.mountpoint)):
                    held.add(hold(self._outer.served_id(stored.name)))
            except (OrlopError, OSError) as error:
                log.warning("what is below volume %s stays attached, and below all others too: %s", stored.name, error)
                held |= {hold(below.name) for inner in self._inner.values() for below in inner.list_volumes()}
        for inner in self._inner.values():
            inner.detach_others(held)
        self._outer.detach_others(use_ids)

    def pending(self, name: str) -> Pending | None:
        inner, served_id = self._below(name)
        try:
            return inner.pending(served_id) if isinstance(inner, Uploading) else Pending()
        except NotFound:
            return Pending()

    # Health: what is wrong below comes first

    def health(self, name: str) -> Health:
        inner, served_id = self._below(name)
        if isinstance(inner, Watched):
            with suppress(NotFound):
                found = inner.health(served_id)
                if found.state is not HealthState.OK:
                    return replace(found, why=f"the {inner.name} volume below: {found.why}")
        return self._outer.health(name)

    def watch_only(self, names: Collection[str]) -> None:
        below: dict[str, list[str]] = {inner.name: [] for inner in self._inner.values()}
        for name in names:
            with suppress(OrlopError):
                inner, served_id = self._below(name)
                below[inner.name].append(served_id)
        for inner in self._inner.values():
            if isinstance(inner, Watched):
                inner.watch_only(below[inner.name])
        self._outer.watch_only(names)

    def mend(self, name: str, use_ids: Collection[str]) -> Path:
        """gocryptfs opens what is below by its path, so it finds a new mount there."""
        inner, served_id = self._below(name)
        if isinstance(inner, Watched) and isinstance(inner, Mending):
            with suppress(NotFound):
                if inner.health(served_id).state is HealthState.STALE:
                    inner.mend(served_id, [hold(served_id)])
        return self._outer.mend(name, use_ids)

    def interrupt(self, name: str) -> None:
        """gocryptfs may itself wait for what is below."""
        inner, served_id = self._below(name)
        if isinstance(inner, Interrupting):
            with suppress(NotFound):
                inner.interrupt(served_id)
        self._outer.interrupt(name)

    # Change and rename

    def change(self, name: str, options: Options, metadata: str) -> None:
        self._check("update", name, options)
        inner, served_id = self._below(name)
        if self._backend.inner(options) is not inner:
            why = f"its encrypted data is in a {inner.name} volume, and stays there"
            raise Unsupported(f"update {name}", why, "Make another volume, and copy: orlop volume cp")
        if inner_options(options) != inner_options(self._outer.options(name)):
            self._change_below(name, inner, served_id, inner_options(options))
        self._outer.change(name, options, metadata)

    def _change_below(self, name: str, inner: Inner, served_id: str, options: Options) -> None:
        if not isinstance(inner, Changing):
            raise Unsupported(f"update {name}", f"the driver {inner.name} changes no volume that exists")
        try:
            inner.change(served_id, options, "{}")
        except NotFound:
            return  # it will be made with these

    def rename(self, name: str, new_name: str, metadata: str) -> StoredVolume:
        return self._outer.rename(name, new_name, metadata)

    # Retire: the volume below stays where it is

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        self._outer.retire(name, retired_id, metadata)

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        return self._outer.restore(retired_id, name, metadata)

    def purge(self, retired_id: str) -> None:
        self._outer.purge(retired_id)

    def cleanup(self) -> None:
        """What says which volume was below ours goes last."""
        for retired_id, served_id, options in self._outer.purged():
            inner = self._backend.inner(options)
            with self._giving_up:
                with suppress(NotFound):  # never made, or purged before
                    inner.retire(served_id, retired_id, "{}")
                inner.purge(retired_id)
        for inner in self._inner.values():
            inner.cleanup()
        self._outer.cleanup()

    def list_retired(self) -> Sequence[str]:
        return self._outer.list_retired()

    def close(self) -> None:
        self._outer.close()
        for inner in self._inner.values():
            if isinstance(inner, ServedVolumes):
                inner.close()
