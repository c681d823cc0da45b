"""Plans are done whole or not at all, and what a crash left is taken up again."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.engine.executor import Executor, Intent, OperationKind, StepActions
from orlop.errors import Conflict, HostFailure
from orlop.planning.plan import Plan, Step
from orlop.store.journal import Journal, Put

PLAN = Plan("make", "thing", (Step("one", "thing", "first"), Step("two", "thing", "then")))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


class World:
    """What the steps did, in order; a step named in `fails` raises instead."""

    def __init__(self) -> None:
        self.deeds: list[str] = []
        self.fails: dict[str, Exception] = {}

    def deed(self, name: str) -> Callable[[Step], None]:
        def do(step: Step) -> None:
            if name in self.fails:
                raise self.fails[name]
            self.deeds.append(name)

        return do

    def kind(self, after_crash: str) -> OperationKind:
        steps = {name: StepActions(self.deed(name), self.deed(f"un{name}")) for name in ("one", "two")}
        return OperationKind("make", steps, after_crash, lambda plan: [Put("settings", "made", "finished")])  # type: ignore[arg-type]


def executor_for(journal: Journal, world: World, after_crash: str = "undo") -> Executor:
    executor = Executor(journal)
    executor.register(world.kind(after_crash))
    return executor


def intents(journal: Journal) -> dict[str, Intent]:
    return journal.load("operations", Intent)


def test_the_outcome_is_committed_with_the_end_of_the_intent(journal: Journal) -> None:
    world = World()
    executor_for(journal, world).run(PLAN, outcome=lambda: [Put("settings", "made", "yes")])
    assert world.deeds == ["one", "two"]
    assert journal.load("settings", str) == {"made": "yes"}
    assert intents(journal) == {}


def test_the_intent_is_durable_before_the_first_step(journal: Journal) -> None:
    seen: list[int] = []
    executor = Executor(journal)
    step = StepActions(lambda _: seen.append(len(intents(journal))))
    executor.register(OperationKind("make", {"one": step, "two": step}, "undo"))
    executor.run(PLAN)
    assert seen == [1, 1]


def test_a_failing_step_is_undone_with_those_before_it_in_reverse(journal: Journal) -> None:
    world = World()
    world.fails["two"] = Conflict("thing", "no")
    with pytest.raises(Conflict, match="thing: no"):
        executor_for(journal, world).run(PLAN)
    assert world.deeds == ["one", "untwo", "unone"]
    assert intents(journal) == {}


def test_an_error_of_the_system_names_the_operation_and_the_way_out(journal: Journal) -> None:
    world = World()
    world.fails["two"] = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    with pytest.raises(HostFailure) as caught:
        executor_for(journal, world).run(PLAN)
    assert caught.value.message == (
        "make thing: No space left on device (/data/x). Free some space on that disk and try again"
    )


def test_a_failing_undo_keeps_the_intent_and_does_not_hide_the_first_error(journal: Journal) -> None:
    world = World()
    world.fails = {"two": Conflict("thing", "no"), "unone": OSError(errno.EBUSY, "busy")}
    executor = executor_for(journal, world)
    with pytest.raises(Conflict, match="thing: no"):
        executor.run(PLAN)
    assert len(intents(journal)) == 1
    assert "busy" in executor.stuck[0]
    world.fails = {}
    assert executor_for(journal, world).recover() == ["undid make thing"]
    assert intents(journal) == {}


def test_recovery_undoes_what_was_being_made(journal: Journal) -> None:
    journal.commit(Put("operations", "a", Intent("a", PLAN)))
    world = World()
    assert executor_for(journal, world, "undo").recover() == ["undid make thing"]
    assert world.deeds == ["untwo", "unone"]
    assert intents(journal) == {}


def test_recovery_finishes_what_was_being_removed(journal: Journal) -> None:
    journal.commit(Put("operations", "a", Intent("a", PLAN)))
    world = World()
    assert executor_for(journal, world, "finish").recover() == ["finished make thing"]
    assert world.deeds == ["one", "two"]
    assert journal.load("settings", str) == {"made": "finished"}
    assert intents(journal) == {}


def test_a_removal_refused_at_its_first_step_never_happened(journal: Journal) -> None:
    world = World()
    world.fails["one"] = Conflict("thing", "in use")
    with pytest.raises(Conflict):
        executor_for(journal, world, "finish").run(PLAN)
    assert intents(journal) == {}


def test_a_removal_stopped_half_way_is_finished_at_the_next_start(journal: Journal) -> None:
    world = World()
    world.fails["two"] = HostFailure("thing", "stuck")
    with pytest.raises(HostFailure):
        executor_for(journal, world, "finish").run(PLAN)
    world.fails = {}
    assert executor_for(journal, world, "finish").recover() == ["finished make thing"]


def test_one_broken_recovery_does_not_keep_the_others_from_theirs(journal: Journal) -> None:
    other = Plan("make", "other", PLAN.steps[:1])
    journal.commit(Put("operations", "a", Intent("a", PLAN)), Put("operations", "b", Intent("b", other)))
    world = World()
    world.fails["untwo"] = HostFailure("thing", "stuck")
    executor = executor_for(journal, world, "undo")
    assert executor.recover() == ["undid make other"]
    assert list(intents(journal)) == ["a"]
    assert executor.stuck == ["undoing two of make thing: thing: stuck"]


def test_a_sweep_goes_on_after_a_failure_and_reports_it(journal: Journal) -> None:
    world = World()
    world.fails["one"] = HostFailure("thing", "stuck")
    executor = executor_for(journal, world)
    assert not executor.sweep(PLAN)
    assert world.deeds == ["two"]
    assert executor.stuck == ["one of make thing: thing: stuck"]
