"""Finding containers by whatever their users call them, and waiting for their end."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.engine.container_records import ContainerRecords, WaitResult
from orlop.errors import Conflict, Malformed, NoSuchContainer
from orlop.model.container import Container, ContainerConfig, HostConfig
from orlop.store.journal import Journal


def container(container_id: str, name: str) -> Container:
    return Container(container_id.ljust(64, "0"), name, 1, "sha256:i", ContainerConfig(), HostConfig(), "l" * 64)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "j.db")
    yield journal
    journal.close()


@pytest.fixture
def records(journal: Journal) -> ContainerRecords:
    records = ContainerRecords(journal)
    for one in (container("aa1", "app"), container("aa2", "db"), container("b", "aa")):
        records.reserve_name(one.name, one.id)
        records.save(one)
    return records


@pytest.mark.parametrize("reference", ["app", "/app", "aa1", "aa1".ljust(64, "0")])
def test_found_by_id_prefix_and_name(records: ContainerRecords, reference: str) -> None:
    assert records.find(reference).name == "app"


def test_a_name_goes_before_an_id_prefix(records: ContainerRecords) -> None:
    assert records.find("aa").id.startswith("b")


def test_an_ambiguous_prefix_is_refused(records: ContainerRecords) -> None:
    records.forget(records.find("aa"))
    with pytest.raises(Malformed, match="Multiple IDs found with provided prefix: aa"):
        records.find("aa")


@pytest.mark.parametrize("reference", ["", "nobody", "/", "ff", "APP"])
def test_the_unknown_is_named(records: ContainerRecords, reference: str) -> None:
    with pytest.raises(NoSuchContainer, match=f"No such container: {reference}"):
        records.find(reference)


def test_a_name_is_held_by_one_and_the_clash_names_the_holder(records: ContainerRecords) -> None:
    with pytest.raises(Conflict, match=r'container name "/app" is already in use by container "aa10'):
        records.reserve_name("app", "c" * 64)


def test_records_come_back_as_they_were(records: ContainerRecords, journal: Journal) -> None:
    renamed = dataclasses.replace(records.find("app"), name="web")
    records.save(renamed)
    again = ContainerRecords(journal)
    assert again.find("web") == renamed
    assert not again.is_name_taken("app")


def test_waiters_are_woken_by_their_own_condition_only(records: ContainerRecords) -> None:
    target = records.find("app").id
    exit_, gone = records.wait(target, "next-exit"), records.wait(target, "removed")
    records.wake(target, ("next-exit", "not-running"), WaitResult(3))
    assert exit_.result(timeout=0).exit_code == 3
    assert not gone.done()
    records.wake(target, ("removed",), WaitResult(3))
    assert gone.result(timeout=0) == WaitResult(3)


def test_who_gave_up_waiting_is_not_woken(records: ContainerRecords) -> None:
    target = records.find("app").id
    future = records.wait(target, "next-exit")
    assert future.cancel()
    records.wake(target, ("next-exit",), WaitResult(0))
    assert future.cancelled()


def test_a_container_removed_while_somebody_waited_for_its_lock_is_gone(records: ContainerRecords) -> None:
    with records.locked("app") as app:
        records.forget(app)
    with pytest.raises(NoSuchContainer), records.locked("app"):
        pass
