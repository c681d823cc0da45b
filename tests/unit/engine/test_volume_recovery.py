"""All volumes of a lost journal in one again: what contradicts itself is decided by rules, and said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.volume_recovery import Recovered, recover_volumes, write_records
from orlop.engine.volume_steps import render_record
from orlop.model.volume import ANONYMOUS_LABEL, RetiredVolume, RetirementPolicy, Volume

NOW = 1_800_000_000 * 1_000_000_000
HOUR = 3600 * 1_000_000_000
POLICY = RetirementPolicy(named_seconds=24 * 3600, anonymous_seconds=3600)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalVolumes]:
    made = LocalVolumes(tmp_path / "volumes")
    yield made
    made.close()


def record(name: str, number: int, **more: object) -> Volume:
    return replace(Volume(name, f"{number:064x}", "local", NOW - number, ""), **more)  # type: ignore[arg-type]


def make(driver: LocalVolumes, volume: Volume, name: str = "") -> None:
    driver.create(name or volume.name, volume.options or {}, render_record(volume))


def retire(driver: LocalVolumes, volume: Volume, purge_at_ns: int, text: str | None = None) -> RetiredVolume:
    make(driver, volume)
    retired = RetiredVolume(volume.id, volume, NOW - 2 * HOUR, purge_at_ns, "volume rm")
    driver.retire(volume.name, volume.id, render_record(retired) if text is None else text)
    return retired


def recovered(driver: LocalVolumes) -> Recovered:
    found = write_records({"local": driver}, recover_volumes({"local": driver}, POLICY, NOW))
    # Whatever was decided stands beside the data now: the next time there is nothing left to say.
    again = recover_volumes({"local": driver}, POLICY, NOW)
    assert [it.volume for it in again.volumes] == [it.volume for it in found.volumes]
    return found


def test_a_record_is_taken_as_it_is(driver: LocalVolumes) -> None:
    volume = record("data", 1, labels={"a": "1", ANONYMOUS_LABEL: ""}, options={"o": "uid=5"}, aliases=("old",))
    make(driver, volume)
    (found,) = recovered(driver).volumes
    assert found.volume == replace(volume, mountpoint=found.volume.mountpoint) and found.remarks == ()
    assert found.volume.mountpoint == str(driver.root / "data/_data")


def test_a_plain_directory_gets_a_record_of_its_own(driver: LocalVolumes) -> None:
    (driver.root / "plain/_data").mkdir(parents=True)
    (found,) = recovered(driver).volumes
    assert (found.volume.labels, found.volume.options, found.remarks) == (None, None, ())
    assert json.loads(driver.metadata("plain"))["id"] == found.volume.id


def test_of_two_with_one_id_the_one_it_was_written_for_keeps_it(driver: LocalVolumes) -> None:
    volume = record("original", 7, labels={"a": "1"})
    make(driver, volume)
    make(driver, volume, "copy")
    make(driver, volume, "another")
    found = {it.volume.name: it for it in recovered(driver).volumes}
    assert found["original"].volume.id == volume.id and found["original"].remarks == ()
    assert len({it.volume.id for it in found.values()}) == 3
    assert "original has the same id" in found["copy"].remarks[1]
    assert found["copy"].volume.labels == {"a": "1"}


def test_an_alias_is_one_volumes(driver: LocalVolumes) -> None:
    make(driver, record("first", 1, aliases=("shared", "second", "own")))
    make(driver, record("second", 2, aliases=("shared",)))
    found = {it.volume.name: it for it in recovered(driver).volumes}
    assert found["first"].volume.aliases == ("shared", "own") and found["second"].volume.aliases == ()
    assert found["first"].remarks == ("its alias second is dropped: second has that name",)
    assert found["second"].remarks == ("its alias shared is dropped: first has that name",)


def test_the_record_of_another_drivers_volume_lends_its_id_alone(driver: LocalVolumes) -> None:
    """Else what attaches it would find another volume in its place."""
    make(driver, record("data", 3, driver="nfs", labels={"a": "1"}))
    (found,) = recover_volumes({"local": driver}, POLICY, NOW).volumes
    assert (found.volume.driver, found.volume.labels, found.volume.id) == ("local", None, f"{3:064x}")
    assert "a volume of driver nfs" in found.remarks[0]


def test_a_grace_that_lasts_is_kept_and_one_that_ended_begins_anew(driver: LocalVolumes) -> None:
    lasting = retire(driver, record("lasting", 1), NOW + 5)
    retire(driver, record("ended", 2), NOW - 5)
    retire(driver, record("nameless", 3, labels={ANONYMOUS_LABEL: ""}), NOW - 5)
    found = {it.retired.volume.name: it for it in recovered(driver).retired}
    assert found["lasting"].retired == lasting and found["lasting"].remarks == ()
    assert found["ended"].retired.purge_at_ns == NOW + 24 * HOUR and "begins anew" in found["ended"].remarks[0]
    assert found["nameless"].retired.purge_at_ns == NOW + HOUR


@pytest.mark.parametrize("text", ["", "{", "null", '{"id": 5}'])
def test_a_removed_volume_without_its_note_is_known_by_its_own_record(driver: LocalVolumes, text: str) -> None:
    retire(driver, record("data", 4, labels={"a": "1"}), NOW + 5, text)
    (found,) = recovered(driver).retired
    if text == '{"id": 5}':  # a note that can be read, and makes no sense
        assert found.retired.volume.name == f"recovered-{4:064x}"[:22]
    else:
        assert (found.retired.volume.name, found.retired.volume.labels) == ("data", {"a": "1"})
    assert found.retired.id == f"{4:064x}" and found.retired.purge_at_ns == NOW + 24 * HOUR and found.remarks
