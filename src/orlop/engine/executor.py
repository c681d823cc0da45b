"""Do a plan: intent committed, steps done one by one, outcome committed, then events.

An operation is registered once with what does and what undoes each of its steps, and with what a crash in the middle
means for it: `undo` (a create that was cut off never happened) or `finish` (a removal that was cut off goes on). After
a crash `recover` takes each intent found in the journal through the same code. An operation whose one step that counts
is atomic, and whose owner finds at start by looking whether it was done (`found`), writes no intent beforehand.

    intent committed -> do step 1 .. n -> outcome committed (together with dropping the intent)
                         | error
                         v
                        undo n .. 1 -> intent dropped -> the error raised
                         | an undo fails: reported, the intent stays, tried again at the next start

Doing and undoing must be harmless when repeated, and undoing harmless when the step was never done.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Literal

from orlop.engine import faults
from orlop.errors import HostFailure, OrlopError
from orlop.model.value import dataclass
from orlop.planning.plan import Plan, Step
from orlop.store.journal import Change, Drop, Journal, Put

log = logging.getLogger(__name__)

Action = Callable[[Step], None]
Outcome = Callable[[], Sequence[Change]]


def nothing(_: Step) -> None:
    """The undo of a step that leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class StepActions:
    do: Action
    undo: Action = nothing


@dataclass(frozen=True, slots=True)
class OperationKind:
    """How an operation's steps are done. `outcome` gives the journal changes of a finished plan when it is finished
    by recovery; when the caller runs the plan, the caller says them."""

    name: str
    steps: Mapping[str, StepActions]
    after_crash: Literal["undo", "finish", "found"]
    outcome: Callable[[Plan], Sequence[Change]] = field(default=lambda plan: ())
    # For `found`, where steps are not durable when they return: the outcome is committed together with a mark, which
    # `settle` drops (the change it is given) when they are...
    settle: Callable[[Plan, Change], None] | None = None
    # ... and what to do at a start that finds the mark: a power cut may have kept the outcome and lost the steps.
    look: Callable[[Plan], None] | None = None
    # What of the plan the mark has to say: what the outcome put into the journal need not stand there twice.
    brief: Callable[[Plan], Plan] = lambda plan: plan


@dataclass(frozen=True, slots=True)
class Intent:
    """A plan under way, as the journal keeps it."""

    id: str
    plan: Plan


class Executor:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kinds: dict[str, OperationKind] = {}
        self._stuck_lock = threading.Lock()
        self.stuck: list[str] = []  # operations whose undo failed; `orlop info` shows them

    def register(self, kind: OperationKind) -> None:
        assert kind.name not in self._kinds
        self._kinds[kind.name] = kind

    def run(self, plan: Plan, outcome: Outcome | None = None) -> None:
        """Do the plan or leave no trace of it. `outcome` is called after the last step; its changes are committed
        together with the end of the intent. Raises what the failing step raised."""
        kind = self._kinds[plan.operation]
        intent = Intent(f"{time.time_ns():016x}{secrets.token_hex(8)}", plan)
        has_intent = kind.after_crash != "found"
        if has_intent:
            self._journal.commit(Put("operations", intent.id, intent))
        faults_at = plan.operation
        done = 0
        try:
            for step in plan.steps:
                faults.point(faults_at, step.action, "before")
                done += 1
                kind.steps[step.action].do(step)
                faults.point(faults_at, step.action, "after")
            changes = tuple(outcome() if outcome else kind.outcome(plan))
            if has_intent:
                self._journal.commit(*changes, Drop("operations", intent.id))
            else:
                self._commit_found(kind, intent, changes)
        except BaseException as error:
            self._give_up(kind, intent, done, error)
            named = _named(error, plan)
            if named is error:
                raise
            raise named from error
        faults.point(faults_at, "outcome", "commit")

    def _commit_found(self, kind: OperationKind, intent: Intent, changes: Sequence[Change]) -> None:
        if kind.settle is None:
            self._journal.commit(*changes)
            return
        self._journal.commit(*changes, Put("operations", intent.id, Intent(intent.id, kind.brief(intent.plan))))
        kind.settle(intent.plan, Drop("operations", intent.id))

    def sweep(self, plan: Plan) -> bool:
        """Do every step of a plan that puts things away, going on after a failure; each failure is reported. No
        intent is written: whatever is left is found and swept again at the next start. True when all went well."""
        kind = self._kinds[plan.operation]
        clean = True
        for step in plan.steps:
            try:
                faults.point(plan.operation, step.action, "before")
                kind.steps[step.action].do(step)
                faults.point(plan.operation, step.action, "after")
            except (OrlopError, OSError) as error:
                clean = False
                self._report(f"{step.action} of {plan.operation} {plan.subject}", error)
        return clean

    def recover(self) -> list[str]:
        """Take up every intent a crash left; called at start, before the API is served. Returns what was done, in
        words. A failure is reported and its intent kept for the next start."""
        reports: list[str] = []
        # An id begins with its time: where several are about one name, their order matters.
        for _, intent in sorted(self._journal.load("operations", Intent).items(), key=lambda item: item[0]):
            kind = self._kinds.get(intent.plan.operation)
            if kind is None:
                log.error("unknown operation %s left by another version", intent.plan.operation)
                continue
            what = f"{intent.plan.operation} {intent.plan.subject}"
            try:
                if kind.after_crash == "finish":
                    for step in intent.plan.steps:
                        kind.steps[step.action].do(step)
                    self._journal.commit(*kind.outcome(intent.plan), Drop("operations", intent.id))
                    reports.append(f"finished {what}")
                elif kind.after_crash == "found":
                    if kind.look:
                        kind.look(intent.plan)
                    self._journal.commit(Drop("operations", intent.id))
                    reports.append(f"made sure of {what}")
                elif self._undo(kind, intent.plan.steps, what):
                    self._journal.commit(Drop("operations", intent.id))
                    reports.append(f"undid {what}")
            except (OrlopError, OSError) as error:
                self._report(f"recovering {what}", error)
        return reports

    def _give_up(self, kind: OperationKind, intent: Intent, done: int, error: BaseException) -> None:
        what = f"{intent.plan.operation} {intent.plan.subject}"
        if kind.after_crash == "finish" and done > 1:
            # What was begun cannot be taken back; the intent stays and the next start goes on with it. A first step
            # that fails has done nothing: the first step of such a plan must be atomic.
            self._report(f"{what} stopped half-way", error)
            return
        if kind.after_crash != "finish" and not self._undo(kind, intent.plan.steps[:done], what):
            return
        if kind.after_crash == "found":
            return
        try:
            self._journal.commit(Drop("operations", intent.id))
        except OrlopError as journal_error:
            self._report(f"closing {what}", journal_error)

    def _undo(self, kind: OperationKind, steps: Sequence[Step], what: str) -> bool:
        clean = True
        for step in reversed(steps):
            try:
                faults.point(kind.name, step.action, "undo")
                kind.steps[step.action].undo(step)
            except (OrlopError, OSError) as error:
                clean = False
                self._report(f"undoing {step.action} of {what}", error)
        return clean

    def _report(self, what: str, error: BaseException) -> None:
        log.error("%s: %s", what, error)
        with self._stuck_lock:
            self.stuck.append(f"{what}: {error}")


def _named(error: BaseException, plan: Plan) -> BaseException:
    """An OSError of a step becomes a HostFailure that says during what; everything else stays as it is."""
    if isinstance(error, OSError) and not isinstance(error, OrlopError):
        where = f" ({error.filename})" if error.filename else ""
        hint = "Free some space on that disk and try again" if error.errno == 28 else ""
        return HostFailure(f"{plan.operation} {plan.subject}", f"{error.strerror or error}{where}", hint)
    return error
