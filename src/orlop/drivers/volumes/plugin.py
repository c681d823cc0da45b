"""Volumes of somebody else's plugin, by Docker's volume plugin protocol v1.

The plugin decides what there is and where; this driver keeps nothing but which uses the plugin was told of
(plugin_uses). "It is not there" is believed only where the plugin says just that: a Get without volume and without
error. Everything else that goes wrong is "not known".

    attach   Mount {name, id}: once for each use, also when asked again
    detach   Unmount {name, id}: only for what was mounted; a failure is remembered and tried again in the background
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from orlop.drivers.volumes.abilities import Health, HealthState, Question
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.mount_health import MountHealth
from orlop.drivers.volumes.plugin_answers import (
    Misunderstood,
    Refused,
    Told,
    parse_mountpoint,
    parse_volume,
    parse_volumes,
)
from orlop.drivers.volumes.plugin_leaving import PluginLeavings
from orlop.drivers.volumes.plugin_link import PluginLink
from orlop.drivers.volumes.plugin_uses import PluginUse, PluginUses, UseState
from orlop.drivers.volumes.plugin_wire import CannotConnect, NoAnswer
from orlop.drivers.volumes.volume_name import check_name_of_plugins
from orlop.errors import Conflict, HostFailure, NoSuchVolume, NotFound, OrlopError, Unavailable
from orlop.kernel.mounts import MNT_DETACH, is_mount_point, unmount
from orlop.model.value import dataclass
from orlop.model.volume import HIDDEN, hide_secrets

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where on the host the paths are that a plugin names: to be shown, and to be used."""

    show: Callable[[str], str] = str
    resolve: Callable[[str], str] = str


class PluginVolumes:
    """Thread-safe. `resolve` gives options with the secrets that they name. `uses` is what an earlier daemon left, too:
    of that nothing is let go before `detach_others`."""

    def __init__(
        self,
        link: PluginLink,
        uses: PluginUses,
        resolve: Callable[[Mapping[str, str]], Mapping[str, str]],
        paths: Paths = Paths(),  # noqa: B008 - it is frozen
    ) -> None:
        self._paths = paths
        self._resolve = resolve
        self._secrets: frozenset[str] = frozenset()  # that the plugin was given
        self._link = link
        self._uses = uses
        self._left = {(use.volume, use.id) for use in uses.all()}  # by an earlier daemon, not looked through yet
        self._seen: tuple[StoredVolume, ...] = ()
        self._last_listing: tuple[dict[str, Any], tuple[StoredVolume, ...]] | None = None
        self._mounts = MountHealth()
        self._leavings = PluginLeavings(link, uses)

    @property
    def name(self) -> str:
        return self._link.name

    @property
    def scope(self) -> str:
        return self._link.scope

    @property
    def is_silent(self) -> bool:
        return self._link.is_silent

    def close(self) -> None:
        self._leavings.close()
        self._mounts.close()
        self._link.close()

    # Create and find

    def check(self, name: str, options: Mapping[str, str]) -> None:
        """The options are the plugin's to judge. Asks it what it is, so that nothing is begun with one that is away."""
        check_name_of_plugins(name)
        self._link.activate()

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        check_name_of_plugins(name)
        subject = f"create {name}"
        try:
            given = self._resolve(options)
            self._secrets |= {value for key, value in given.items() if value and value != options[key]}
            self._last_listing = None  # what was shown of it may be a secret now
            self._call(subject, "Create", {"Name": name, "Opts": dict(given)}, self._link.deadlines.mount)
        except HostFailure as error:
            if "exist" not in error.why or self.find(name) is None:
                raise
        try:
            return self.get(name)
        except OrlopError as error:
            log.warning("volume plugin %s made volume %s and says nothing of it: %s", self.name, name, error)
            return StoredVolume(name, "", 0)

    def discard(self, name: str) -> None:
        """Nobody can tell whether somebody wrote to it: it stays with the plugin, which is asked before one of that
        name is made again."""
        try:
            found = self.find(name)
        except OrlopError as error:
            log.warning("whether volume plugin %s made volume %s all the same is not known: %s", self.name, name, error)
            return
        if found is None:
            return
        raise Conflict(f"discarding volume {name}", f"it stays with the plugin {self.name}, which may have data in it")

    def get(self, name: str) -> StoredVolume:
        return self._get(name)

    def _get(self, name: str, seconds: float = 0.0, patient: bool = True) -> StoredVolume:
        return self._got(name, lambda: self._link.call("Get", {"Name": name}, seconds, patient))

    def _got(self, name: str, said: Callable[[], dict[str, Any]]) -> StoredVolume:
        subject = f"get {name}"
        told = self._understood(subject, lambda: parse_volume(said(), name))
        if told is None:
            raise NoSuchVolume(name)
        return self._stored(told)

    def ask(self, name: str) -> Question[StoredVolume] | None:
        return self._link.begin("Get", {"Name": name}, lambda said: self._got(name, said))

    def ask_all(self) -> Question[Sequence[StoredVolume]] | None:
        return self._link.begin("List", {}, self._listed)

    def find(self, name: str) -> StoredVolume | None:
        try:
            return self._get(name, self._link.deadlines.look, patient=False)
        except (NotFound, HostFailure):
            return None

    def list_volumes(self) -> Sequence[StoredVolume]:
        return self._listed(lambda: self._link.call("List", {}, patient=False))

    def _listed(self, said: Callable[[], dict[str, Any]]) -> Sequence[StoredVolume]:
        subject = f"listing the volumes of {self.name}"
        answer = self._understood(subject, said)
        known = self._last_listing
        # The same words mean the same, and most listings have nothing new; but where paths are a matter of settings.
        if known is None or known[0] != answer or self._paths.show is not str:
            told = self._understood(subject, lambda: parse_volumes(answer))
            known = self._last_listing = answer, tuple(self._stored(each) for each in told)
        self._seen = known[1]
        return known[1]

    def seen(self) -> Sequence[StoredVolume]:
        return self._seen

    def remove(self, name: str) -> None:
        uses = [use for use in self._uses.all() if use.volume == name]
        if any(use.state is not UseState.LEAVING for use in uses):
            raise Conflict(f"remove {name}", f"it is mounted by the plugin {self.name}", "Try again in a moment")
        try:
            self._call(f"remove {name}", "Remove", {"Name": name})
        except HostFailure:
            if not self._is_gone(name):
                raise
        for use in uses:  # what it did not unmount went with it
            with self._uses.hold(name, use.id):
                self._uses.drop(use)
        self._seen = tuple(stored for stored in self._seen if stored.name != name)

    def _is_gone(self, name: str) -> bool:
        """Whether a removal that failed had nothing to remove: the plugin knows nothing of it in any of its answers."""
        try:
            self.get(name)
            return False
        except NotFound:
            return True
        except HostFailure:
            try:
                return all(found.name != name for found in self.list_volumes())
            except OrlopError:
                return False
        except OrlopError:
            return False

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        subject = f"error while mounting volume {name}"
        with self._uses.hold(name, use_id) as known:
            address = self._activated(subject)
            if known is not None and known.state is UseState.MOUNTED and known.identity == address.identity:
                return Path(known.path)
            if known is not None and known.state is not UseState.MOUNTED:
                self._leavings.unmount(known)  # or it would count this use twice; a failure leaves it as it is
            use = PluginUse(name, use_id, UseState.MOUNTING, identity=address.identity)
            self._uses.put(use)
            return self._note_mounted(use, self._mount_of_before(subject, use) if known else self._mount(subject, use))

    def _mount_of_before(self, subject: str, use: PluginUse) -> str:
        """A plugin that was started anew may remember who had what, and refuse who has it."""
        try:
            return self._mount(subject, use)
        except HostFailure as error:
            if not isinstance(error.__cause__, Refused):
                raise
        self._end_dead(subject, use)
        return self._mount(subject, use)

    def _note_mounted(self, use: PluginUse, path: str) -> Path:
        is_mount = is_mount_point(Path(path))
        self._uses.put(PluginUse(use.volume, use.id, UseState.MOUNTED, path, use.identity, is_mount))
        return Path(path)

    def _activated(self, subject: str) -> Any:
        try:
            return self._link.activate()
        except OrlopError as error:
            raise type(error)(subject, f"{error.subject}: {error.why}", error.hint) from error

    def _mount(self, subject: str, use: PluginUse) -> str:
        request = {"Name": use.volume, "ID": use.id}
        try:
            answer = self._link.call("Mount", request, self._link.deadlines.mount)
            path = parse_mountpoint(answer, "VolumeDriver.Mount") or self._path(use.volume)
        except (Refused, CannotConnect, OrlopError) as error:
            self._uses.drop(use)  # it did not mount, so it hears of no end
            if isinstance(error, Refused) and self._is_surely_absent(use.volume):
                raise NoSuchVolume(use.volume) from error
            raise self._failure(subject, error) from error
        except (NoAnswer, Misunderstood) as error:
            self._leavings.leave_later(use)  # it may have mounted
            raise self._failure(subject, error) from error
        except BaseException:
            self._leavings.leave_later(use)
            raise
        return self._on_host(subject, use, path)

    def _on_host(self, subject: str, use: PluginUse, path: str) -> str:
        try:
            return self._paths.resolve(path)
        except OrlopError as error:
            self._leavings.leave_later(use)
            raise self._failure(subject, error) from error

    def _path(self, name: str) -> str:
        answer = self._link.call("Path", {"Name": name})
        path = parse_mountpoint(answer, "VolumeDriver.Path")
        if not path:
            raise Misunderstood("VolumeDriver.Mount: it does not say where the volume is")
        return path

    def _is_surely_absent(self, name: str) -> bool:
        try:
            self.get(name)
        except NotFound:
            return True
        except OrlopError:
            pass
        return False

    # Health: where the plugin said that it is

    def health(self, name: str) -> Health:
        use = next((use for use in self._uses.all() if use.volume == name and use.state is UseState.MOUNTED), None)
        if use is None:
            return Health()
        if use.is_mount:
            return self._mounts.health(name, Path(use.path))
        return self._mounts.answer(name, Path(use.path))

    def watch_only(self, names: Collection[str]) -> None:
        self._mounts.watch_only(names)

    def mend(self, name: str, use_ids: Collection[str]) -> Path:
        """The plugin is asked to mount it anew for each use. What it is asked for while it is dead, or while another
        plugin is in its place, may fail: then it is as before."""
        subject = f"mending volume {name}"
        mounted = [use for use in self._uses.all() if use.volume == name and use.state is UseState.MOUNTED]
        for path in {use.path for use in mounted if use.is_mount}:
            self._take_off_dead(Path(path))
        identity = self._activated(subject).identity
        is_dead = self.health(name).state is HealthState.STALE
        known = [use.id for use in mounted]
        found = None
        for use_id in dict.fromkeys([*use_ids, *known]):
            with self._uses.hold(name, use_id) as use:
                if use is not None and use.state is not UseState.MOUNTED:
                    continue  # it ends
                if use is not None and use.identity == identity and not is_dead:
                    found = Path(use.path)
                else:
                    found = self._mount_anew(
                        subject, use, PluginUse(name, use_id, UseState.MOUNTING, identity=identity)
                    )
        if found is None:
            raise HostFailure(subject, "nobody uses it any more")
        return found

    def _take_off_dead(self, path: Path) -> None:
        """A plugin that starts and finds the mount of its predecessor, which serves nobody any more, may take its
        volume for broken: `rclone serve docker` then forgets it."""
        if self._mounts.is_dead(path):
            log.warning("volume plugin %s: the dead mount on %s is taken off", self.name, path)
            unmount(path, MNT_DETACH)

    def _mount_anew(self, subject: str, dead: PluginUse | None, use: PluginUse) -> Path:
        """The caller holds the use."""
        if dead is not None and dead.identity == use.identity:
            self._end_dead(subject, use)
        try:
            return self._note_mounted(use, self._mount_of_before(subject, use) if dead else self._mount(subject, use))
        except BaseException:
            # Its containers still have what is dead; a plugin that was not told of it may refuse its end.
            left = dead or PluginUse(use.volume, use.id, UseState.MOUNTED)
            self._uses.put(PluginUse(left.volume, left.id, UseState.MOUNTED, left.path, (), left.is_mount))
            raise

    def _end_dead(self, subject: str, use: PluginUse) -> None:
        try:
            self._link.call("Unmount", {"Name": use.volume, "ID": use.id})
        except (Refused, Misunderstood) as error:
            log.info("volume plugin %s did not unmount what is dead of %s: %s", self.name, use.volume, error)
        except (CannotConnect, NoAnswer) as error:
            raise self._failure(subject, error) from error

    def detach(self, name: str, use_id: str) -> None:
        if (name, use_id) in self._left:
            return  # the daemon is starting: `detach_others` says what goes on, and nobody waits for a plugin now
        with self._uses.hold(name, use_id) as use:
            if use is not None and not self._leavings.unmount(use):
                self._leavings.leave_later(use)

    def detach_others(self, use_ids: Collection[str]) -> None:
        for use in self._uses.all():
            if use.id not in use_ids:
                self._uses.put(PluginUse(use.volume, use.id, UseState.LEAVING, use.path, use.identity))
        self._left = set()
        self._leavings.go_on()

    # Asking

    def _stored(self, told: Told) -> StoredVolume:
        mountpoint, status = self._paths.show(told.mountpoint), told.status and self._shown(told.status)
        return StoredVolume(told.name, mountpoint, told.created_at_ns, status=status)

    def _shown(self, found: Any) -> Any:
        """A plugin may say again what it was given: of that, no secret is shown."""
        if isinstance(found, str):
            return reduce(lambda text, secret: text.replace(secret, HIDDEN), self._secrets, found)
        if isinstance(found, list):
            return [self._shown(each) for each in found]
        if isinstance(found, dict):
            hidden = hide_secrets({key: value for key, value in found.items() if isinstance(value, str)})
            return {key: self._shown(hidden.get(key, value)) for key, value in found.items()}
        return found

    def _call(
        self,
        subject: str,
        method: str,
        request: Mapping[str, Any],
        seconds: float = 0.0,
        patient: bool = True,
    ) -> dict[str, Any]:
        return self._understood(subject, lambda: self._link.call(method, request, seconds, patient))

    def _understood(self, subject: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (Refused, Misunderstood, CannotConnect, NoAnswer, OrlopError) as error:
            raise self._failure(subject, error) from error

    def _failure(self, subject: str, error: Exception) -> OrlopError:
        if isinstance(error, OrlopError):
            return type(error)(subject, f"{error.subject}: {error.why}", error.hint)
        if isinstance(error, Refused):
            return HostFailure(subject, self._shown(str(error)))
        if isinstance(error, Misunderstood):
            return HostFailure(subject, self._shown(f"volume plugin {self.name}: {error}"))
        return Unavailable(subject, f"volume plugin {self.name}: {error}", "Bring the plugin back and try again")
