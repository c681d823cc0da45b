"""Changing a volume that exists: its name, its other names, its labels, its options.

A renamed volume still answers to the name it had, its alias, for that is how containers made before know it. The alias
is the volume's as long as anybody refers to it by that name, and until somebody lets go of it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from orlop.engine.events import Events
from orlop.engine.executor import Executor, Outcome
from orlop.engine.mounting import Mounting
from orlop.engine.settling import Settler
from orlop.engine.volume_change_steps import VolumeChangeSteps
from orlop.engine.volume_locks import VolumeLocks
from orlop.engine.volume_records import VolumeRecords
from orlop.engine.volume_shared import SharedVolumes
from orlop.engine.volume_steps import render_record
from orlop.errors import Conflict, HostFailure, Malformed, NotFound, Unsupported
from orlop.model.volume import ANONYMOUS_LABEL, Volume, keep_secrets
from orlop.planning.plan import Plan
from orlop.planning.volumes import plan_change, plan_rename
from orlop.store.journal import Change, Drop, Put

PATIENCE_SECONDS = 10.0  # for who is just mounting it

Describe = Callable[[Sequence[str]], str]


class VolumeChanges:
    """`describe` names containers for people."""

    def __init__(
        self,
        executor: Executor,
        records: VolumeRecords,
        steps: VolumeChangeSteps,
        locks: VolumeLocks,
        events: Events,
        settler: Settler,
        mounting: Mounting,
        check: Callable[[str, str, Mapping[str, str]], None],
        describe: Describe,
        shared: SharedVolumes,
    ) -> None:
        self._shared = shared
        self._executor = executor
        self._records = records
        self._steps = steps
        self._locks = locks
        self._events = events
        self._settler = settler
        self._mounting = mounting
        self._check = check
        self._describe = describe

    # Names

    def rename(self, name: str, new_name: str, keep_alias: bool = True) -> Volume:
        """Who has it attached keeps it. Raises NoSuchVolume, Malformed for a name that cannot be, Conflict for one that
        is taken, and where containers would no longer find the volume, Unsupported where the driver cannot."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (done := self._rename(name, new_name, keep_alias)) is None:
            self._await_mounting(self._records.get(name), give_up_at)
        volume, renamed = done
        self._events.publish("volume", "rename", new_name, {"driver": volume.driver, "oldName": volume.name})
        return renamed

    def _await_mounting(self, volume: Volume, give_up_at: float) -> None:
        """Without its lock, which the end of that start may need."""
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise Conflict(f"rename {volume.name}", "it is just being mounted or opened for somebody", "Try again")
        self._mounting.await_end(volume.id, left)

    def _rename(self, name: str, new_name: str, keep_alias: bool) -> tuple[Volume, Volume] | None:
        """The volume before and after; None while somebody is about to follow the path to it."""
        with self._locks.hold([name, new_name]):
            volume = self._records.get(name)
            self._check_rename(volume, new_name, keep_alias)
            self._steps.renaming(volume.driver)
            if self._mounting.is_under_way(volume.id):
                return None
            # Under the name that somebody chose it is no longer one of the nameless, which a prune takes.
            labels = volume.labels
            if labels is not None:
                labels = {key: value for key, value in labels.items() if key != ANONYMOUS_LABEL}
            kept = [alias for alias in volume.aliases if alias != new_name] + ([volume.name] if keep_alias else [])
            renamed = replace(volume, name=new_name, aliases=tuple(kept), labels=labels, mountpoint="")
            plan = plan_rename(volume.name, new_name, volume.driver, _render(volume), _render(renamed))

            def outcome() -> Sequence[Change]:
                nonlocal renamed
                renamed = self._as_stored(renamed)
                return [Drop("volumes", volume.name), Put("volumes", new_name, replace(renamed, problem=""))]

            self._settle(volume.name, new_name)
            self._run(volume, plan, outcome)
            self._records.rename(volume.name, renamed)
        return volume, renamed

    def _check_rename(self, volume: Volume, new_name: str, keep_alias: bool) -> None:
        subject = f"rename {volume.name}"
        self._records.refuse_moving(volume, subject)
        if new_name == volume.name:
            raise Malformed(subject, "it has that name already")
        if volume.is_shared:
            raise Unsupported(subject, "it has this name on every host of the cluster", "Make another volume, and copy")
        if why := self._records.elsewhere(new_name):
            raise Conflict(subject, why, "Choose another name")
        with _about(subject):
            self._check(new_name, volume.driver, volume.options or {})
        taken = self._records.find(new_name)
        if taken is not None and taken.name != volume.name:
            what = f"the volume {new_name} exists"
            if taken.name != new_name:
                what = f"{new_name} is another name of the volume {taken.name}"
            raise Conflict(subject, what, "Choose another name")
        referring = self._records.holders_by(volume.name)
        if referring and not keep_alias:
            why = f"containers know it by the name {volume.name}: {self._describe(referring)}"
            raise Conflict(subject, why, "Let it keep that name as an alias, or remove them first")

    def let_go(self, alias: str) -> None:
        """The volume no longer answers to that name; its data stays. The caller holds its lock."""
        volume = self._records.get(alias)
        self._records.refuse_moving(volume, f"remove {alias}")
        referring = self._records.holders_by(alias)
        if referring:
            hint = f"{alias} is another name of the volume {volume.name}, and these containers know it by that name: "
            why = f"volume is in use - [{', '.join(referring)}]"
            raise Conflict(f"remove {alias}", why, hint + self._describe(referring))
        self._change(volume, replace(volume, aliases=tuple(other for other in volume.aliases if other != alias)))
        self._events.publish("volume", "update", volume.name, {"driver": volume.driver, "aliasRemoved": alias})

    # Labels and options

    def update(self, name: str, labels: Mapping[str, str] | None, options: Mapping[str, str] | None) -> Volume:
        """Each map that is given replaces the one there is. A limit holds at once, other options from the next mount;
        a secret that comes back hidden stays. Raises NoSuchVolume, Malformed, Conflict for a limit below what is
        stored, Unsupported."""
        with self._records.redactor.hiding(options), self._locks.hold([name]):
            volume = self._records.get(name)
            self._records.refuse_moving(volume, f"update {volume.name}")
            changed = volume
            if labels is not None and labels != (volume.labels or {}):
                changed = replace(changed, labels=labels)
            if options is not None:
                with _about(f"update {volume.name}"):
                    options = keep_secrets(options, volume.options or {})
                if options != (volume.options or {}):
                    self._check_options(volume, options)
                    changed = replace(changed, options=options or None)
            if changed == volume:
                return volume
            self._shared.change(changed)
            changed = self._change(volume, changed)
        self._events.publish("volume", "update", changed.name, {"driver": changed.driver})
        return changed

    def follow(self, volume: Volume, labels: Mapping[str, str] | None, options: Mapping[str, str] | None) -> None:
        """As another host of the cluster has changed it. The caller holds its lock."""
        self._change(volume, replace(volume, labels=labels, options=options))
        self._events.publish("volume", "update", volume.name, {"driver": volume.driver})

    def _check_options(self, volume: Volume, options: Mapping[str, str]) -> None:
        if self._steps.changing(volume.driver) is None:
            raise Unsupported(f"volume driver {volume.driver}", "it cannot change the options of a volume")
        with _about(f"update {volume.name}"):
            self._check(volume.name, volume.driver, options)

    def _change(self, before: Volume, after: Volume) -> Volume:
        self._settle(before.name)
        plan = plan_change(before.name, before.driver, _render(before), _render(after))
        self._run(before, plan, lambda: [Put("volumes", after.name, replace(after, problem=""))])
        after = self._as_stored(after)
        self._records.remember(after)
        return after

    def _run(self, volume: Volume, plan: Plan, outcome: Outcome) -> None:
        try:
            self._executor.run(plan, outcome)
        except NotFound as error:
            why = f"its data directory {volume.mountpoint} is missing"
            self._records.mark(volume.name, why)
            hint = "Put it back from a backup, or remove the volume and create it again"
            raise HostFailure(f"{plan.operation.replace('.', ' ')} {volume.name}", why, hint) from error

    def _as_stored(self, volume: Volume) -> Volume:
        """What was wrong with it may be mended now."""
        stored = self._steps.take_stored(volume.name)
        return replace(volume, mountpoint=stored.mountpoint, problem=stored.problem) if stored else volume

    def _settle(self, *names: str) -> None:
        """No mark of a creation or a removal may be left: after a crash it would be looked into under the old name."""
        for name in names:
            try:
                self._settler.ensure(name)
            except OSError as error:
                raise HostFailure(f"volume {name}", f"the disk does not take it: {error.strerror}") from error


@contextmanager
def _about(subject: str) -> Iterator[None]:
    """The checks speak of a creation."""
    try:
        yield
    except Malformed as error:
        raise Malformed(subject, error.why, error.hint) from error


def _render(volume: Volume) -> str:
    return render_record(replace(volume, problem=""))
