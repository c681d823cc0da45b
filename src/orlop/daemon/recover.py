"""`orlop recover`: a new journal from what the volumes say of themselves, when the journal is lost.

    1  lock the data root; judge the journal on a copy; a sound one ends it here
    2  refuse while containers of the lost journal run: nobody could say whose volumes they write to
    3  survey: every volume and every removed one, from the record beside its data
    4  make the new journal beside the old one, whole
    5  set the old one aside, and layers and container folders, which only it could explain; nothing is deleted
    6  the new journal takes its place

Cut off anywhere, it can be run again; until the last step the daemon has no journal and says so. What is said of each
volume is data for a table (`orlop.cli.commands.recover`).
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orlop.daemon.config import DEFAULT_EXEC_ROOT, load_settings
from orlop.daemon.remains import RunningContainer, running_containers
from orlop.daemon.roots import lock_for_recovery, orphan_folders
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.engine import faults
from orlop.engine.volume_recovery import Recovered, recover_volumes, write_records
from orlop.errors import Conflict, Forbidden, HostFailure, Malformed
from orlop.kernel.mounts import mounts_at_or_below, unmount
from orlop.model.secret import names_of_secrets
from orlop.model.value import dataclass
from orlop.model.volume import RetirementPolicy
from orlop.store.files import sync_directory
from orlop.store.journal import Journal, Put
from orlop.store.journal_file import journal_files
from orlop.store.journal_state import JournalState, Judgement, judge
from orlop.store.paths import DataRoot, ExecRoot
from orlop.store.secrets import SecretFiles


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    journal: Judgement
    volumes: Recovered
    running: tuple[RunningContainer, ...] = ()
    lost: tuple[str, ...] = ()  # what cannot be rebuilt, in words
    set_aside: str = ""  # the folder with all that was moved out of the way
    done: bool = False  # a new journal is in place


def recover(given: Mapping[str, Any], config_file: Path | None, dry_run: bool) -> RecoveryReport:
    """`given` as for the daemon. Raises Conflict while a daemon has the data root or containers run, NotFound,
    HostFailure."""
    settings = load_settings(given, config_file)
    if os.geteuid() != 0:
        raise Forbidden("orlop recover", "it must run as root", "Start it with sudo")
    os.umask(0o022)
    data_root = DataRoot(settings.data_root)
    policy = RetirementPolicy(settings.volume_grace_seconds, settings.anonymous_volume_grace_seconds)
    lock = lock_for_recovery(data_root)
    try:
        return _recover(data_root, policy, dry_run)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        why = f"{error.strerror or error}{where}"
        raise HostFailure(f"recover {data_root.path}", why, "Nothing was deleted; it can be run again") from error
    finally:
        os.close(lock)


def _recover(data_root: DataRoot, policy: RetirementPolicy, dry_run: bool) -> RecoveryReport:
    judgement = judge(data_root.journal)
    if judgement.state is JournalState.SOUND:
        return RecoveryReport(judgement, Recovered())
    running = tuple(running_containers(data_root.path.resolve(), data_root.volumes))
    if running and not dry_run:
        raise _still_running(data_root, running)
    drivers = _drivers(data_root)
    found = recover_volumes(drivers, policy, time.time_ns())
    orphans = orphan_folders(data_root)
    lost = (*_lost(data_root, orphans), *_lost_secrets(data_root, found))
    report = RecoveryReport(judgement, found, running, lost)
    if dry_run:
        return report
    found = write_records(drivers, found)
    faults.point("recover", "records", "after")
    new = data_root.journal.with_name("journal.new")
    _make_journal(new, found)
    faults.point("recover", "journal", "after")
    aside = _set_aside(data_root, orphans)
    new.rename(data_root.journal)
    faults.point("recover", "rename", "after")
    sync_directory(data_root.own)
    return RecoveryReport(judgement, found, running, report.lost, str(aside or ""), done=True)


def _drivers(data_root: DataRoot) -> Mapping[str, VolumeDriver]:
    from orlop.daemon.assemble import volume_drivers

    return volume_drivers(data_root, ExecRoot(DEFAULT_EXEC_ROOT))


def _still_running(data_root: DataRoot, running: tuple[RunningContainer, ...]) -> Conflict:
    lines = [
        f"{each.name} ({each.id[:12]}): pid {each.pid or each.supervisor_pid}, {each.command or 'unknown command'}"
        + (f", uses {', '.join(each.volumes)}" if each.volumes else "")
        for each in running
    ]
    pids = " ".join(str(each.pid or each.supervisor_pid) for each in running)
    return Conflict(
        f"recover {data_root.path}",
        "containers that only the lost journal knew still run, and write to their volumes:\n  " + "\n  ".join(lines),
        f"Stop them, then try again: kill {pids}",
    )


def _lost(data_root: DataRoot, orphans: list[Path]) -> tuple[str, ...]:
    """What stood in the journal alone."""
    lost = []
    for folder in orphans:
        count = sum(len(name) == 64 for name in os.listdir(folder)) or "some"
        if folder == data_root.containers:
            lost.append(f"containers ({count}): their settings stood in the journal alone. Create them again")
        else:
            what = f"images and containers' own files ({count} folders in {folder.name})"
            lost.append(f"{what}: what they are stood in the journal alone. Load the images again")
    return tuple(lost)


def _lost_secrets(data_root: DataRoot, found: Recovered) -> list[str]:
    """Where more than the journal is gone: options name secrets that nobody can read out of a volume."""
    kept = SecretFiles(data_root.secrets).names()
    missing: dict[str, list[str]] = {}
    for volume in [*(each.volume for each in found.volumes), *(each.retired.volume for each in found.retired)]:
        with suppress(Malformed):
            for name in names_of_secrets(volume.options or {}):
                if name not in kept:
                    missing.setdefault(name, []).append(volume.name)
    return [
        f"secret {name}, which volumes need ({', '.join(volumes)}). Create it again: orlop secret create {name}"
        for name, volumes in sorted(missing.items())
    ]


def _make_journal(path: Path, found: Recovered) -> None:
    for left in journal_files(path):  # of a recovery that was cut off
        left.unlink()
    journal = Journal(path)
    try:
        puts = [Put("volumes", each.volume.name, each.volume) for each in found.volumes]
        puts += [Put("retired", each.retired.id, each.retired) for each in found.retired]
        journal.commit(*puts)
    finally:
        journal.close()


def _set_aside(data_root: DataRoot, orphans: list[Path]) -> Path | None:
    """Out of the daemon's way, on the same file system, whole."""
    for folder in orphans:
        for entry in mounts_at_or_below(folder):
            if entry.fs_type != "overlay":
                why, hint = f"{entry.mount_point} is mounted", f"Unmount it first: umount {entry.mount_point}"
                raise Conflict(f"recover {data_root.path}", why, hint)
            unmount(entry.mount_point)  # a container's root file system, and no container runs
    moving = journal_files(data_root.journal)
    if orphans and data_root.recipes.exists():
        moving.append(data_root.recipes)  # before the layers, which are the reason to move it
    moving += orphans
    if not moving:
        return None
    place = data_root.set_aside / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    while place.exists():
        place = place.with_name(place.name + "+")
    place.mkdir(mode=0o700, parents=True)
    for source in moving:
        source.rename(place / source.name)
        faults.point("recover", f"aside {source.name}", "after")
    for folder in (place, data_root.set_aside, data_root.own, data_root.path):
        sync_directory(folder)
    return place
