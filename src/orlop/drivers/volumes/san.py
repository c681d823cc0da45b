"""Block devices of a SAN, by iSCSI and NBD, each with a file system of its own.

    <root>/<name>/            as the local driver lays it out: _data, orlop.json, uses/, mounted
    <root>/<name>/san.json    0600, which device and which file system (san_record)
    <run>/programs/<id>/      the program that speaks to the device (san_program)
    <run>/disks/<id>          the device as a file (san_chain)
    <run>/sessions/<id>/      or the kernel speaks to it (san_session)
    <run>/leases/             who may write to which device (device_lease)
    <run>/busy/<id>           which programs are at work on it (volume_work)

The data is elsewhere: what is removed, restored and renamed is the volume, never the device.

    attach   first use: lease, program, loop device, look, check, mount on _data; every other: marked
    detach   last use: everything written, unmounted, loop device gone, program ended, lease given back
"""

import logging
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import Health
from orlop.drivers.volumes.device_lease import DeviceLeases, Holder, HostLeases
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.leash_ties import LeashTies, Tie
from orlop.drivers.volumes.local import LocalVolumes
from orlop.drivers.volumes.mount_program import end_unrecorded
from orlop.drivers.volumes.mounted_uses import (
    USES,
    attach_mounted,
    detach_mounted,
    is_last_use,
    is_ours,
    keep_marks,
)
from orlop.drivers.volumes.remote_options import refuse_named
from orlop.drivers.volumes.san_health import SanHealth
from orlop.drivers.volumes.san_mount import grow_mounted, mount_device, unmount_device
from orlop.drivers.volumes.san_options import SanOptions, parse_san_options
from orlop.drivers.volumes.san_record import SAN, SanRecord, read_record, render_record, write_record
from orlop.drivers.volumes.san_ways import Chain, chains_for, is_writing, places, present_chain
from orlop.drivers.volumes.volume_directory import Resolve, VolumeDirectory, exists
from orlop.drivers.volumes.volume_name import check_name
from orlop.drivers.volumes.volume_work import VolumeWork
from orlop.errors import Conflict, NotFound, OrlopError, Unavailable, Unsupported
from orlop.kernel import mounts
from orlop.kernel.device_look import run_within
from orlop.kernel.mounts import is_mount_point
from orlop.model.cluster import Access

log = logging.getLogger(__name__)

_NOBODY = "nobody"  # a use that nobody has
_AGAIN_SECONDS = 30.0


class SanVolumes:
    name = "san"
    scope = "global"
    mounts_anew = True

    def __init__(self, root: Path, run: Path, resolve: Resolve = dict, leases: DeviceLeases | None = None) -> None:
        """`resolve` gives options with the secrets that they name. `leases`: among the hosts that reach the same
        devices; without, among the volumes of this one."""
        self._tree = LocalVolumes(root)
        self.root = self._tree.root
        run.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._run = run.resolve()
        self._resolve = resolve
        self._leases = leases or HostLeases(self._run / "leases", lambda holder: is_writing(self._run, holder))
        self._ties = LeashTies()
        self._work = VolumeWork(self._run)
        self._late: set[tuple[str, str]] = set()  # uses that ended while the storage did not answer
        self._closed = threading.Event()
        self._health = SanHealth()

    def close(self) -> None:
        self._closed.set()
        self._health.close()
        self._tree.close()

    # Create and find

    def check(self, name: str, options: Mapping[str, str]) -> None:
        check_name(name)
        self._parse(f"create {name}", options)

    def _parse(self, subject: str, options: Mapping[str, str]) -> None:
        refuse_named(subject, options, set(options) - {"chap-password"})
        parse_san_options(subject, self._resolve(options))

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        self.check(name, options)
        self._refuse_shared(f"create {name}", name, options)
        self._tree.create(name, {}, metadata, {SAN: render_record(SanRecord(secrets.token_hex(16), options))})
        self._tree.settle()
        return self.get(name)

    def _refuse_shared(self, subject: str, name: str, options: Mapping[str, str]) -> None:
        """Told early; the lease is what keeps them apart."""
        device = parse_san_options(subject, options).device
        for other in self._tree.names():
            if other == name:
                continue
            with suppress(OrlopError, OSError):
                if parse_san_options(subject, self.options(other)).device.key == device.key:
                    break
        else:
            return
        why = f"{device} is the device of the volume {other} already"
        raise Conflict(subject, why, f"A device has one writer at a time: use {other}, or remove it first")

    def discard(self, name: str) -> None:
        self._tree.discard(name, (SAN,))

    def get(self, name: str) -> StoredVolume:
        return self._tree.get(name)

    def list_volumes(self) -> Sequence[StoredVolume]:
        return self._tree.list_volumes()

    def metadata(self, name: str) -> str:
        return self._tree.metadata(name)

    def retired_metadata(self, retired_id: str) -> str:
        return self._tree.retired_metadata(retired_id)

    def describe(self, name: str, metadata: str) -> None:
        self._tree.describe(name, metadata)

    def options(self, name: str) -> Mapping[str, str]:
        with self._tree.opened(name) as volume:
            return read_record(volume).options

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        with self._tree.opened(name, exclusive=True) as volume:
            self._late.discard((name, use_id))
            record, subject = read_record(volume), f"attaching volume {name}"
            options = parse_san_options(subject, self._resolve(record.options))
            tie = self._ties.tie_of(name)
            with self._work.on(subject, record.id):
                chain = present_chain(self._run, record.id, tie)
                self._let_go_of_dead(volume, chain)
                if exists(volume.fd, USES) and is_ours(volume):
                    self._health.require_answer(subject, chain)
                attach_mounted(volume, use_id, lambda: self._mount(volume, record, options, tie))
            return volume.data_path

    def _mount(self, volume: VolumeDirectory, record: SanRecord, options: SanOptions, tie: Tie | None) -> None:
        present = present_chain(self._run, record.id, tie)
        if present.is_alive:
            mount_device(volume, record, options, present, self._leases)
            return
        present.clear()
        refusal: Unsupported | None = None
        for chain in chains_for(self._run, record.id, tie, f"attaching volume {volume.name}", options):
            try:
                mount_device(volume, record, options, chain, self._leases)
                return
            except Unsupported as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    # Among several hosts

    def accesses(self, options: Mapping[str, str]) -> Sequence[str]:
        return (Access.RWO, Access.ROX)

    def options_for(self, options: Mapping[str, str], access: str) -> Mapping[str, str]:
        return {**options, "read-only": "true"} if access == Access.ROX else options

    def storage_of(self, options: Mapping[str, str]) -> str:
        return parse_san_options("finding the device", options).device.key

    def identity(self, name: str) -> str:
        with self._tree.opened(name) as volume:
            return read_record(volume).uuid

    def expect(self, name: str, identity: str) -> None:
        with self._tree.opened(name, exclusive=True) as volume:
            record = read_record(volume)
            if record.uuid != identity:
                write_record(volume, replace(record, uuid=identity, is_being_made=False))

    def tie(self, name: str, leash: Path, epoch: int = 0) -> None:
        self._ties.tie(name, leash, epoch)

    def is_reached(self, name: str) -> bool:
        with suppress(NotFound), self._tree.opened(name) as volume:
            return present_chain(self._run, read_record(volume).id).is_reached
        return False

    def cut(self, name: str, seconds: float) -> None:
        self._ties.cut(name)
        with suppress(NotFound), self._tree.opened(name) as volume:
            chain = present_chain(self._run, read_record(volume).id)
            if seconds > 0 and chain.is_alive:
                with suppress(TimeoutError):
                    run_within(seconds, ("sync", "-f", str(volume.data_path)))
            chain.cut()

    def _let_go_of_dead(self, volume: VolumeDirectory, chain: Chain) -> None:
        """Who still has what its program's end left sees errors until they let go; nothing is written by it."""
        if exists(volume.fd, USES) and is_ours(volume) and not chain.is_alive:
            log.warning("volume %s: its device is gone; it is mounted anew", volume.name)
            mounts.unmount(volume.data_path, mounts.MNT_DETACH)
            chain.clear()

    def detach(self, name: str, use_id: str) -> None:
        try:
            with suppress(NotFound), self._tree.opened(name, exclusive=True) as volume:
                self._detach(volume, use_id)
        except Unavailable:
            late = (name, use_id)
            if late not in self._late:  # else a thread asks again already
                self._late.add(late)
                threading.Thread(target=self._detach_late, args=late, name=f"detach {name}", daemon=True).start()
            raise

    def _detach(self, volume: VolumeDirectory, use_id: str) -> None:
        if not is_last_use(volume, use_id):
            detach_mounted(volume, use_id)
            return
        record = read_record(volume)
        with self._work.on(f"detaching volume {volume.name}", record.id):
            chain = present_chain(self._run, record.id)
            if is_ours(volume):
                unmount_device(volume, chain)
            detach_mounted(volume, use_id)
            if chain.end():
                self._leases.release(Holder(record.id, volume.name))
                self._work.forget(record.id)
            else:
                log.warning("volume %s: its device stays, for it is mounted in another mount namespace", volume.name)

    def _detach_late(self, name: str, use_id: str) -> None:
        """Storage that did not answer is asked again, until it does or the use is taken up again."""
        while not self._closed.wait(_AGAIN_SECONDS):
            try:
                with self._tree.opened(name, exclusive=True) as volume:
                    if (name, use_id) not in self._late:
                        return
                    self._detach(volume, use_id)
                    self._late.discard((name, use_id))
                    return
            except NotFound:
                self._late.discard((name, use_id))
                return
            except (OrlopError, OSError) as error:
                log.warning("volume %s stays mounted: %s", name, error)

    def detach_others(self, use_ids: Collection[str]) -> None:
        """At start. What nobody uses any more is let go of in a thread of its own: its storage may not answer."""
        end_unrecorded(self._run / "programs")
        used: set[str] = set()
        unused: list[str] = []
        owners: dict[str, str] = {}
        is_clear = True
        for name in self._tree.names():
            try:
                with self._tree.opened(name, exclusive=True) as volume:
                    if exists(volume.fd, USES):
                        keep_marks(volume, use_ids)
                        if is_last_use(volume, _NOBODY):
                            unused.append(name)
                        used.add(read_record(volume).id)
                    owners[read_record(volume).id] = name
            except (OrlopError, OSError) as error:
                log.warning("volume %s stays mounted: %s", name, error)
                is_clear = False  # what is of no volume that we know may be of this one
        strays = {found: owners.get(found, "") for found in places(self._run) if found not in used}
        strays = {found: owner for found, owner in strays.items() if owner or is_clear}
        threading.Thread(target=self._end_unused, args=(unused, strays), name="end san", daemon=True).start()

    def _end_unused(self, unused: Sequence[str], strays: Mapping[str, str]) -> None:
        for name in unused:
            try:
                with self._tree.opened(name, exclusive=True) as volume:
                    if is_last_use(volume, _NOBODY):
                        self._detach(volume, _NOBODY)
            except (OrlopError, OSError) as error:
                log.warning("volume %s stays mounted: %s", name, error)
        for san_id, owner in strays.items():
            try:
                self._end_stray(san_id, owner)
            except (OrlopError, OSError) as error:
                log.warning("what is left of a program of the SAN stays: %s", error)

    def _end_stray(self, san_id: str, owner: str) -> None:
        """Unless somebody has attached its volume meanwhile."""
        with ExitStack() as held:
            if owner:
                with suppress(NotFound):
                    volume = held.enter_context(self._tree.opened(owner, exclusive=True))
                    if exists(volume.fd, USES):
                        return
            with self._work.on(f"ending what is left of {owner or san_id}", san_id):
                if present_chain(self._run, san_id).end():
                    self._work.forget(san_id)

    # Health

    def health(self, name: str) -> Health:
        with self._tree.opened(name) as volume:
            return self._health.health(volume, present_chain(self._run, read_record(volume).id))

    def watch_only(self, names: Collection[str]) -> None:
        self._health.watch_only(names)

    def interrupt(self, name: str) -> None:
        with self._tree.opened(name) as volume:
            present_chain(self._run, read_record(volume).id).kill()

    # Change and rename

    def change(self, name: str, options: Mapping[str, str], metadata: str) -> None:
        """From the next mount on. A device that has grown is noticed now."""
        self._parse(f"update {name}", options)
        with self._tree.opened(name, exclusive=True) as volume:
            self._refuse_shared(f"update {name}", name, options)
            record = read_record(volume)
            write_record(volume, replace(record, options=dict(options)))
            chain = present_chain(self._run, record.id)
            if is_mount_point(volume.data_path) and chain.is_alive:
                with self._work.on(f"update {name}", record.id):
                    grow_mounted(volume, chain)
        self._tree.describe(name, metadata)

    def rename(self, name: str, new_name: str, metadata: str) -> StoredVolume:
        return self._tree.rename(name, new_name, metadata)

    # Retire: the volume, not the device

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        with suppress(NotFound), self._tree.opened(name, exclusive=True) as volume:
            if exists(volume.fd, USES) and is_last_use(volume, _NOBODY):
                self._detach(volume, _NOBODY)
        self._tree.retire(name, retired_id, metadata)
        self._tree.settle()

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        return self._tree.restore(retired_id, name, metadata)

    def purge(self, retired_id: str) -> None:
        self._tree.purge(retired_id)

    def cleanup(self) -> None:
        self._tree.cleanup()

    def list_retired(self) -> Sequence[str]:
        return self._tree.list_retired()
