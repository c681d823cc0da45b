"""The local driver: a volume is a directory of this host.

    <root>/                        0701: others may pass through, not look around
    <root>/<name>/                 0701, one volume
    <root>/<name>/_data/           the user's bytes; owner and mode are the user's business once it is made
    <root>/<name>/opts.json        0600, Docker's format; only where the volume has options
    <root>/<name>/orlop.json       0600, the engine's record of it, so that a lost journal can be rebuilt
    <root>/<name>/change.json      0600, a change of options that is decided and not yet in those two (local_changes)
    <root>/<name>/uses/, mounted   who has a volume with mount options attached, and what was mounted (mounted_uses)
    <root>/.staging/<token>/       0700, a volume or a copy-up in the making (local_staging)
    <root>/.retired/<id>/          0700, a removed volume, whole; retired.json in it says what it was
    <root>/.purging/<id>/          0700, given up; its bytes are being deleted

The daemon alone writes here, apart from what lies below `_data`, which belongs to containers and may change at any
instant. So nothing below `_data` is ever reached by a path: a directory is opened by its parent's descriptor,
never through a link, and `_data` must be a real directory, or the volume is broken and says so.

    volume_directory   the tree, one volume's directory, the files in it
    volume_name        which names are accepted
    local_record       opts.json and the engine's record
    local_adoption     taking over what another engine made
    local_looks        what it looks like from outside, and what is wrong with it
    local_changes      other options, another name
    local_owner        uid=, gid= and mode= of the top directory
    local_rules        which options are accepted
    local_content      what gives `_data` its content: add forms there
    local_mount        mounting what the options name (local_words: the words of `o`)
    mounted_uses       who uses what is mounted, and unmounting
    local_staging      filling an empty volume at once; local_staging_within: one whose content is mounted
    local_filling      making a volume with its data
    local_retirement   removed volumes
    local_health       whether what is mounted answers
    local_usage        walking and counting
    local_image, local_image_file, local_subvolume, local_project
                       limits: a file system in a file, btrfs, project quota
"""

import errno
import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from orlop.drivers.volumes import local_adoption, local_filling, local_staging
from orlop.drivers.volumes.abilities import Health, Limits, Measurement
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.local_changes import change_volume, finish_change, rename_volume
from orlop.drivers.volumes.local_content import content_of, new_content
from orlop.drivers.volumes.local_deletion import delete_tree
from orlop.drivers.volumes.local_health import health_of
from orlop.drivers.volumes.local_image import has_image
from orlop.drivers.volumes.local_looks import finish, look_at, problem_of, stored
from orlop.drivers.volumes.local_owner import give_owner
from orlop.drivers.volumes.local_record import read_metadata, read_options, render_options, spelt_options
from orlop.drivers.volumes.local_retirement import LocalRetirement
from orlop.drivers.volumes.local_rules import MountOptions, parse_options
from orlop.drivers.volumes.local_staging_within import (
    finish_within,
    is_staged_within,
    publish_within,
    stage_within,
    unstage_within,
)
from orlop.drivers.volumes.mount_health import MountHealth
from orlop.drivers.volumes.mounted_uses import MOUNTED, USES, detach_mounted, is_only_use, keep_uses
from orlop.drivers.volumes.volume_directory import (
    CHANGE,
    DATA,
    METADATA,
    OPTIONS,
    RETIRED_METADATA,
    STAGING,
    Resolve,
    VolumeDirectory,
    VolumesRoot,
    exists,
    replace_file,
    sweep,
    write_file,
)
from orlop.drivers.volumes.volume_name import check_name
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unsupported
from orlop.kernel.filesystems import sync_files, syncfs
from orlop.kernel.mounts import mounts_at_or_below
from orlop.kernel.project_quota import ProjectQuota

log = logging.getLogger(__name__)

_FEW = 50  # files, above which waiting for the whole file system once is less than for each of them


class LocalVolumes:
    name = "local"
    scope = "local"

    def __init__(self, root: Path, projects: ProjectQuota | None = None, resolve_secrets: Resolve = dict) -> None:
        """Makes what is missing of the tree. Raises OSError where the disk is read-only or not ours. `projects`: the
        kernel's project quota, or what stands for it. `resolve_secrets` raises NotFound for a secret that is not
        there."""
        self._root = VolumesRoot(root, projects, resolve_secrets)
        self.root = self._root.path
        self._retirement = LocalRetirement(self._root)
        self._mounts = MountHealth()
        self._made: list[str] = []  # and not settled

    def close(self) -> None:
        self._mounts.close()
        self._root.close()

    @contextmanager
    def opened(self, name: str, exclusive: bool = False) -> Iterator[VolumeDirectory]:
        """For a driver that keeps its volumes so."""
        with self._root.open(name, exclusive) as volume:
            yield volume

    # Create and find

    def check(self, name: str, options: Mapping[str, str]) -> None:
        check_name(name)
        parse_options(name, options)
        self._root.resolve_secrets(options)

    def create(
        self, name: str, options: Mapping[str, str], metadata: str, files: Mapping[str, str] | None = None
    ) -> StoredVolume:
        """`files` lie beside the data as well: what another driver that keeps its volumes so wants to know of them."""
        check_name(name)
        wanted = parse_options(name, options)
        if exists(self._root.fd, name):
            return self._adopt(name)
        token = f"new-{secrets.token_hex(8)}"
        try:
            with self._root.folder(STAGING) as staging_fd:
                self._build(staging_fd, token, wanted, metadata, bool(options), name, files or {})
                # rename(2) replaces nothing but an empty directory, and a volume's is never empty.
                os.rename(token, name, src_dir_fd=staging_fd, dst_dir_fd=self._root.fd)
        except BaseException as error:
            self.unstage(token)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return self._adopt(name)
            raise
        self._made.append(name)
        created_at_ns = os.lstat(name, dir_fd=self._root.fd).st_ctime_ns
        return StoredVolume(
            name, f"{self.root}/{name}/{DATA}", created_at_ns
        )  # made just now: nothing is wrong with it

    def _build(
        self,
        staging_fd: int,
        token: str,
        wanted: MountOptions,
        metadata: str,
        keep_options: bool,
        name: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """A whole volume, out of sight. The umask was in mkdir's way, so the mode is set again."""
        os.mkdir(token, 0o701, dir_fd=staging_fd)
        with self._root.open_within(STAGING, token, name) as volume:
            new_content(volume, wanted).make(volume)
            os.fchmod(volume.fd, 0o701)
            # Not synced on its own: `settle` does it for many at a time.
            write_file(volume.fd, METADATA, metadata)
            if keep_options:
                wanted = replace(wanted, in_image=has_image(volume))
                write_file(volume.fd, OPTIONS, render_options(wanted), sync=True)
            for file, text in (files or {}).items():
                write_file(volume.fd, file, text, sync=True)

    def _adopt(self, name: str) -> StoredVolume:
        found = self.get(name)
        if found.problem:
            raise Conflict(f"create {name}", f"{self.root / name} is there already, but {found.problem}")
        return found

    def discard(self, name: str, files: Collection[str] = ()) -> None:
        try:
            with self._root.open(name, exclusive=True) as volume:
                try:
                    content_of(volume, _options_or_none(volume)).discard(volume)
                except OSError as error:
                    raise Conflict(f"discarding volume {name}", f"its data directory: {error.strerror}") from error
                with suppress(FileNotFoundError):
                    os.rmdir(USES, dir_fd=volume.fd)
                sweep(volume.fd, os.listdir(volume.fd))
                for file in (CHANGE, MOUNTED, METADATA, OPTIONS, RETIRED_METADATA, *files):
                    with suppress(FileNotFoundError):
                        os.unlink(file, dir_fd=volume.fd)
        except NotFound:
            return
        os.rmdir(name, dir_fd=self._root.fd)
        os.fsync(self._root.fd)

    def get(self, name: str) -> StoredVolume:
        with self._root.open(name) as volume:
            return stored(volume)

    def list_volumes(self) -> Sequence[StoredVolume]:
        return self.look(self.names())

    def names(self) -> Sequence[str]:
        return self._root.names()

    def look(self, names: Iterable[str]) -> Sequence[StoredVolume]:
        return [stored for name in names if (stored := look_at(self._root, name)) is not None]

    def metadata(self, name: str) -> str:
        with self._root.open(name) as volume:
            return read_metadata(volume)

    def options(self, name: str) -> Mapping[str, str]:
        with self._root.open(name) as volume:
            return spelt_options(read_options(volume))

    def describe(self, name: str, metadata: str) -> None:
        with self._root.open(name) as volume:
            finish_change(volume)
            # A first record is like one of a new volume: ten thousand that were moved here need not wait for the disk.
            replace_file(volume.fd, METADATA, metadata, sync=exists(volume.fd, METADATA))

    # Change: local_changes

    def change(self, name: str, options: Mapping[str, str], metadata: str) -> None:
        wanted = parse_options(name, options, "update")
        self._root.resolve_secrets(options)
        with self._root.open(name, exclusive=True) as volume:
            change_volume(volume, wanted, bool(options), metadata)

    def rename(self, name: str, new_name: str, metadata: str) -> StoredVolume:
        check_name(new_name, "rename to")
        rename_volume(self._root, name, new_name, metadata)
        self._retirement.note_rename()
        return self.get(new_name)

    # Adopt: local_adoption

    def why_not_adoptable(self, source: Path) -> str:
        return local_adoption.why_not(self._root, source)

    @property
    def limits_adopted(self) -> bool:
        """By project quota: what is attached gets its limit, under the project number that it has or a new one."""
        return self._root.has_project_quota

    def adopt(self, source: Path, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        check_name(name)
        wanted = parse_options(name, options, "adopt")
        if wanted.is_limited and not self.limits_adopted:
            hint = "Leave out size and inodes"
            raise Unsupported(f"adopt {name}", "a directory cannot get a limit while it is taken over", hint)
        local_adoption.adopt(self._root, source, name, wanted, bool(options), metadata)
        return self.get(name)

    def give_back(self, name: str, source: Path) -> None:
        local_adoption.give_back(self._root, name, source)

    # Use

    def attach(self, name: str, use_id: str) -> Path:
        with self._root.open(name, exclusive=True) as volume:
            problem = problem_of(volume)
            if problem:
                hint = "Put it back from a backup, or remove the volume and create it again"
                raise HostFailure(f"attaching volume {name}", problem, hint)
            finish(volume)
            content = content_of(volume)
            content.attach(volume, use_id)
            if not content.is_stageable:
                finish_within(self._root, volume, partial(give_owner, options=read_options(volume)))
            return volume.data_path

    def detach(self, name: str, use_id: str) -> None:
        with suppress(NotFound), self._root.open(name, exclusive=True) as volume:
            detach_mounted(volume, use_id)

    def health(self, name: str) -> Health:
        with self._root.open(name) as volume:
            return health_of(volume, self._mounts)

    def watch_only(self, names: Collection[str]) -> None:
        self._mounts.watch_only(names)

    def detach_others(self, use_ids: Collection[str]) -> None:
        for name in self._root.names():
            try:
                if not os.access(f"{name}/{USES}", os.F_OK, dir_fd=self._root.fd):  # of ten thousand, for all wait
                    continue
                with self._root.open(name, exclusive=True) as volume:
                    keep_uses(volume, use_ids)
            except (OrlopError, OSError) as error:
                log.warning("volume %s stays mounted: %s", name, error)

    def vanishes(self, name: str, use_id: str) -> bool:
        with self._root.open(name) as volume:
            return read_options(volume).fs_type in ("tmpfs", "ramfs") and is_only_use(volume, use_id)

    def usage_bytes(self, name: str) -> int:
        try:
            found = self.measure(name, stop=lambda: False)
        except OSError:
            return -1
        return found.size_bytes if found else -1

    def measure(self, name: str, stop: Callable[[], bool]) -> Measurement | None:
        with self._root.open(name) as volume:
            return content_of(volume).measure(volume, stop)

    def counted(self, name: str) -> Measurement | None:
        with self._root.open(name) as volume:
            return content_of(volume).counted(volume)

    def limits(self, name: str) -> Limits:
        with self._root.open(name) as volume:
            return content_of(volume).limits(volume)

    # Copy-up

    def is_empty(self, name: str) -> bool:
        with self._root.open(name) as volume:
            options = read_options(volume)
            return not options.no_copy and content_of(volume, options).is_empty(volume)

    def stage(self, name: str, token: str) -> Path:
        with self._root.open(name, exclusive=True) as volume, self._root.folder(STAGING) as staging_fd:
            if read_options(volume).no_copy:
                raise Conflict(f"populate {name}", "nothing is to be copied into the volume (nocopy)")
            content = content_of(volume)
            if not content.is_stageable or mounts_at_or_below(volume.path):
                return stage_within(self._root, volume, content, token)
            if not local_staging.is_data_empty(volume.fd):
                raise Conflict(f"populate {name}", "the volume is not empty")
            content.make_stage(volume, staging_fd, token)
        return self.root / STAGING / token

    def publish(self, name: str, token: str, in_use: bool) -> None:
        with self._root.open(name) as volume, self._root.folder(STAGING) as staging_fd:
            settle_top = partial(give_owner, options=read_options(volume))
            if not is_staged_within(self._root, token):
                if not in_use:
                    local_staging.put_in_place(name, volume.fd, staging_fd, token, settle_top)
                    return
                local_staging.move_entries(volume.fd, staging_fd, token, settle_top)
                delete_tree(self._root, STAGING, token)
                return
        publish_within(self._root, name, token, in_use, settle_top)

    def unstage(self, token: str) -> None:
        if is_staged_within(self._root, token):
            unstage_within(self._root, token)
            return
        local_filling.let_go(self._root, token)
        delete_tree(self._root, STAGING, token)

    def list_staged(self) -> Sequence[str]:
        return sorted(os.listdir(self.root / STAGING))

    # A volume with its data

    def own_options(self, options: Mapping[str, str]) -> dict[str, str]:
        return local_filling.own_options(options)

    def prepare(self, token: str, options: Mapping[str, str], metadata: str) -> Path:
        wanted = parse_options(token, options)
        local_filling.check(wanted)
        with self._root.folder(STAGING) as staging_fd:
            self._build(staging_fd, token, wanted, metadata, bool(options))
        return local_filling.attach(self._root, token)

    def reveal(self, token: str, name: str, asked_for: Collection[str] = ()) -> StoredVolume:
        check_name(name)
        local_filling.reveal(self._root, token, name, asked_for)
        return self.get(name)

    # Retire, restore, purge: local_retirement

    def retire(self, name: str, retired_id: str, metadata: str) -> None:
        self._retirement.retire(name, retired_id, metadata)

    def settle(self) -> None:
        made, self._made = self._made, []
        try:
            if len(made) > _FEW:
                syncfs(self._root.fd)
            else:
                sync_files((self.root / name / METADATA for name in made), missing_ok=True)
            self._retirement.settle()
        except OSError:
            self._made += made
            raise

    def restore(self, retired_id: str, name: str, metadata: str) -> StoredVolume:
        check_name(name)
        self._retirement.restore(retired_id, name, metadata)
        return self.get(name)

    def purge(self, retired_id: str) -> None:
        self._retirement.purge(retired_id)

    def cleanup(self) -> None:
        self._retirement.cleanup()

    def list_retired(self) -> Sequence[str]:
        return self._retirement.list_retired()

    def retired_metadata(self, retired_id: str) -> str:
        return self._retirement.metadata(retired_id)


def _options_or_none(volume: VolumeDirectory) -> MountOptions:
    """What is unreadable keeps nobody from throwing away an empty volume."""
    try:
        return read_options(volume)
    except HostFailure:
        return MountOptions()
